"""Every leaf can be proven, and nothing else can."""

from hypothesis import given
from hypothesis import strategies as st

from processor.domain.merkle import audit_path, leaf_hash, root, root_by_path

trees = st.lists(st.binary(max_size=4), min_size=1, max_size=70)


@given(records=trees)
def test_every_leaf_is_proven_by_its_path(records: list[bytes]) -> None:
    """Whatever the size of the tree, and where in it the leaf is."""
    leaves = [leaf_hash(each) for each in records]
    whole = root(leaves)

    assert [root_by_path(leaf, at, len(leaves), audit_path(leaves, at)) for at, leaf in enumerate(leaves)] == [
        whole
    ] * len(leaves)


@given(records=trees, data=st.data())
def test_a_changed_bit_is_seen_wherever_it_is(records: list[bytes], data: st.DataObject) -> None:
    """In the record, or in any hash of the path."""
    leaves = [leaf_hash(each) for each in records]
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = [leaves[index], *audit_path(leaves, index)]
    place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    proof[place] = (int.from_bytes(proof[place], "big") ^ (1 << bit)).to_bytes(32, "big")

    assert root_by_path(proof[0], index, len(leaves), proof[1:]) != root(leaves)


@given(records=st.lists(st.binary(max_size=4), min_size=2, max_size=70, unique=True), data=st.data())
def test_a_leaf_is_proven_in_its_own_place_only(records: list[bytes], data: st.DataObject) -> None:
    """Which command a proof is about depends on the place."""
    leaves = [leaf_hash(each) for each in records]
    index, other = (data.draw(st.integers(0, len(leaves) - 1)) for _ in range(2))
    reached = root_by_path(leaves[index], other, len(leaves), audit_path(leaves, index))

    assert (reached == root(leaves)) == (index == other)


@given(records=st.lists(st.binary(max_size=4), min_size=2, max_size=70), data=st.data())
def test_the_order_and_the_number_of_leaves_make_another_root(records: list[bytes], data: st.DataObject) -> None:
    """Two commands that change places, or one that is left out at the end, are another history."""
    leaves = [leaf_hash(each) for each in records]
    one, two = (data.draw(st.integers(0, len(leaves) - 1)) for _ in range(2))
    swapped = list(leaves)
    swapped[one], swapped[two] = swapped[two], swapped[one]

    assert (root(swapped) == root(leaves)) == (leaves[one] == leaves[two])
    assert root(leaves[:-1]) != root(leaves)
