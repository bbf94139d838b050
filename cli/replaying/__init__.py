"""Sends a file of real transactions through the HTTP intake, and proves that each was applied exactly once."""
