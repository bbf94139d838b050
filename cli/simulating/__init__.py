"""A whole Florin in one process, whose clock is turned by hand: what `florin simulate` runs, and many tests."""
