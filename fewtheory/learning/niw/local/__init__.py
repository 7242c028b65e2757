"""An episode's posterior over the weights of a network, in `_torch`."""
