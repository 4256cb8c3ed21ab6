"""Step 7: logged and synthetic requests to one stream with provenance."""
