"""From fitted generators to synthetic requests in the user's own columns."""
