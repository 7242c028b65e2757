"""Points of a design: determinantal point processes and volume sampling for least squares."""
