"""What Florin settles per second, beside what the same machine does in another way, measured in the same run."""
