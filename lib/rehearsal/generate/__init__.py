"""Steps 5 and 6: drifting segments to synthesizers, and synthesizers to synthetic requests."""
