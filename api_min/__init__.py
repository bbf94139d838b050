"""The HTTP intake: validate, accept, answer. It decides nothing about money."""
