"""The reversible codec: requests to token columns of small integers and back."""
