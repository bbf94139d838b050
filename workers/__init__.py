"""The queue's side of Florin: what a message says, the broker that carries it, and the actors that take it."""
