"""The lock key of an account: 64 bits of its name's hash, the same in every process and for accounts not yet open."""

import struct
from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=1 << 17)
def account_key(name: str) -> int:
    """
    A signed 64-bit key for Postgres's advisory locks.

    Two names may share a key (at a million accounts with odds of 3 in 100 million): their commands then wait for each
    other, and nothing else. Never computed in SQL, where another hash would give another key.
    """
    (key,) = struct.unpack(">q", blake2b(name.encode(), digest_size=8).digest())
    return int(key)
