"""Florin's core: what a command means, how it is accepted and how it is applied. Knows no HTTP and no queue."""
