"""Merkle trees as in RFC 6962, and the bytes that are hashed: one spelling for each value, on every machine."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

SIZE: Final = 32
"""Bytes of a hash."""

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
"""A leaf never passes for a node, nor a node for a leaf: what is hashed begins with what it is."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: dict[str, Any]) -> bytes:
    """
    The value as JSON in its one canonical spelling: RFC 8785, but with integers of any size in full.

    It may hold strings, integers, booleans, lists and objects; keys are ASCII. A field without a value is left out, so
    that a column which a later version adds changes nothing of what was sealed before.
    """
    return _encode(value).encode()


def leaf_hash(record: bytes) -> bytes:
    """The hash of a leaf of the tree."""
    return sha256(_LEAF + record).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of these leaves, in their order."""
    if not leaves:
        return sha256(b"").digest()
    level = leaves
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def audit_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """What the root is made of besides the leaf at ``index``, from the bottom up."""
    path = []
    level = leaves
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level = _level_above(level)
        index >>= 1
    return path


def root_by_path(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The root of a tree of ``count`` leaves that has this one at ``index``; ``None`` if the path does not fit."""
    if not 0 <= index < count:
        return None
    reached, last, rest = leaf, count - 1, list(path)
    while last:
        # The odd node at the end of a level has no neighbour, and goes up as it is.
        if index & 1 or index < last:
            if not rest:
                return None
            neighbour = rest.pop(0)
            reached = _node_hash(neighbour, reached) if index & 1 else _node_hash(reached, neighbour)
        index >>= 1
        last >>= 1
    return None if rest else reached


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    above = [_node_hash(level[left], level[left + 1]) for left in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(_NODE + left + right).digest()
