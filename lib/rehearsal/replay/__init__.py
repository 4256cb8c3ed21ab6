"""Step 2: requests to the outputs of both models."""
