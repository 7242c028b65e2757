"""Rows of a tall matrix: scores with certificates, and reweighted samples that keep l_p norms."""
