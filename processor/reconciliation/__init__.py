"""Statements of banks and PSPs: imported, matched with the books, and reported."""
