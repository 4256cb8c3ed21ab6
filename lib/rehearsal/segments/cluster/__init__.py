"""Points in clusters: searched on a sample, finished and measured on all users; by density too."""
