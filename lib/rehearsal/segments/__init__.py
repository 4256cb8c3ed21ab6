"""Step 1: users to segments."""
