"""The loop's tables as one self-contained HTML page."""
