"""Several processes train as one: same rows per step, the same weights in all, one answer."""
