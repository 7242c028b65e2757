"""Laws of noise levels that can be cut at a sample's own level, for torch."""
