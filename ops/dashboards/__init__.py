"""The Grafana dashboards as code. ``python -m ops.dashboards`` writes them as JSON to ops/grafana/dashboards."""
