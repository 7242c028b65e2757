"""Frames of a clip: a set of k of T chosen at once, by a policy whose law is exact."""
