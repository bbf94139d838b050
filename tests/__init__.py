"""The tests. A package, so that ``tests.ops`` is not taken for ``ops``."""
