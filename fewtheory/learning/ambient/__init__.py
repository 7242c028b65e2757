"""Noisy data: what a sample at a known noise level is worth (`ambient-scaling`)."""
