"""What `florin reconcile` shows."""
