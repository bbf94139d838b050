"""What `florin top` reads and draws."""
