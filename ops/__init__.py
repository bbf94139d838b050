"""What operators run beside Florin: rules, alert routing, dashboards. None of it is in the image."""
