"""From `alerts` to people and dashboards: one message per run, and gauges for Prometheus."""
