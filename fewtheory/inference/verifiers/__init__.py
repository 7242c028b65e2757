"""Resampling with a verifier that errs: what more tries buy (`inference-flaws`)."""
