"""What theory says before a run: fixed points, bias, ringing, lost modes, drift, in closed form."""
