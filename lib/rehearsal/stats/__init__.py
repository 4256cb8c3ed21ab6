"""Statistics on counts: pure numpy and scipy, no Spark."""
