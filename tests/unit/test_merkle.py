"""Trees, proofs and the bytes that are hashed, held against what others publish."""

from datetime import UTC, datetime

import pytest

from processor.domain.blocks import Header, genesis, microseconds
from processor.domain.merkle import audit_path, canonical, leaf_hash, root, root_by_path

LEAVES = [
    leaf_hash(bytes.fromhex(each))
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
"""The leaves of the test vectors that come with Certificate Transparency."""

ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

HEADER = Header(
    history="8b6f2c1e-3a60-4a0b-9a65-0c8f5f1f9c10",
    number=7,
    first_leaf=60,
    leaves=3,
    root=bytes(32),
    previous=b"\xff" * 32,
    sealed_at=datetime(2026, 1, 5, 12, 0, 0, 1, tzinfo=UTC),
)


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_certificate_transparency(count: int) -> None:
    """Anybody's implementation of RFC 6962 can recompute ours."""
    assert root(LEAVES[:count]).hex() == ROOTS[count]


@pytest.mark.parametrize(
    ("index", "count", "path"),
    [
        (0, 1, []),
        (2, 3, [ROOTS[2]]),
        (
            *(1, 5),
            [
                ROOTS[1],
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
        (
            *(0, 8),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
    ],
)
def test_paths_are_those_of_certificate_transparency(index: int, count: int, path: list[str]) -> None:
    """So can anybody's check our proofs."""
    assert [each.hex() for each in audit_path(LEAVES[:count], index)] == path


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0), (9, 3)])
def test_a_leaf_that_the_tree_cannot_have_leads_to_no_root(index: int, count: int) -> None:
    """What comes in a proof file is whatever somebody wrote there."""
    assert root_by_path(LEAVES[0], index, count, []) is None


@pytest.mark.parametrize("path", [[], [LEAVES[1]], [LEAVES[1]] * 3])
def test_a_path_of_another_length_leads_to_no_root(path: list[bytes]) -> None:
    """A path that ends early ends at a node, which must not pass for the root."""
    assert root_by_path(LEAVES[0], 0, 4, path) is None


def test_a_node_does_not_pass_for_a_leaf() -> None:
    """Without the prefixes, two hashes side by side would be a 'record' that nobody ever wrote."""
    left, right = LEAVES[:2]

    assert leaf_hash(left + right) != root([left, right])


def test_a_record_has_one_spelling() -> None:
    """The order in which a program holds the fields is none of their meaning; large integers stay exact."""
    record = {"b": 2**63 - 1, "a": {"é": '"\\\n\x01\x7f', "d": [True, -1]}}
    turned = {"a": {"d": [True, -1], "é": '"\\\n\x01\x7f'}, "b": 2**63 - 1}

    assert canonical(record) == canonical(turned)
    assert canonical(record) == '{"a":{"d":[true,-1],"é":"\\"\\\\\\n\\u0001\x7f"},"b":9223372036854775807}'.encode()


def test_an_instant_is_counted_in_microseconds_wherever_its_clock_was() -> None:
    """A float would lose the last digits of it."""
    assert microseconds(datetime(2026, 1, 5, 12, 0, 0, 1, tzinfo=UTC)) == 1_767_614_400_000_001


def test_a_block_has_the_hash_that_the_documentation_computes() -> None:
    """It is the example in docs/tamper-evidence.md: whoever wrote a verifier by it must not be surprised."""
    assert HEADER.hash().hex() == "8cee3630b05964aa51d3c4e0f72c1fc1d14a38a5ead4bcbf9b2114d85e42bfcc"
    assert genesis(HEADER.history).hex() == "804cf17ce6f42695dc155b95da343e943985aba268bfdfa00a8526abee8da19b"
