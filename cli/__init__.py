"""The `florin` command line and the local all-in-one stack."""
