"""From one run to the next: how far users moved, whether to refit, whose id is whose."""
