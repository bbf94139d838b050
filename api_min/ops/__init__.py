"""The page for operators: is money stuck? Served here, drawn from Prometheus or from the exporter's own figures."""
