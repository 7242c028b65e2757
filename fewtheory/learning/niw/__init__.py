"""Few shots: a normal-inverse-Wishart hierarchy over tasks, learnt in one pass (`niwmeta`)."""
