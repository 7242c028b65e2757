"""Noisy data: what a sample at a known noise level is worth, and how to learn from it (`ambient-scaling`)."""
