"""What the proofs ask of the books: reads only, a bounded number of rows at a time."""
