"""Step 8: what the augmented stream shows that the logged one did not."""
