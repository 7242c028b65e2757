"""The denoiser as a martingale of its own reverse process, for torch."""
