"""The statements that read the lines say what the model of the protocol says: what holds there holds here."""

from random import Random

import pytest

from processor.store import books
from tests.builders import deposit, in_line, transfer
from tests.engine import Engine
from tests.line_protocol import Lines, named_and_heads

NAMES = [f"customer.{number}" for number in range(7)]


@pytest.fixture
def lines(engine: Engine) -> Lines:
    """Forty commands in the database, some of them decided, and the same in the model."""
    random = Random(4)
    touched = [random.sample(NAMES, random.choice((1, 2, 2))) for _ in range(60)]
    positions = engine.accept(
        *(deposit(each[0], 1) if len(each) == 1 else transfer(each[0], each[1], 1) for each in touched)
    )
    model = Lines(in_line(position, *each) for position, each in zip(positions, touched, strict=True))
    model.pending = set(random.sample(positions, 40))
    engine.rows("DELETE FROM pending WHERE position <> ALL(%s)", [list(model.pending)])
    return model


def some_keys(lines: Lines, random: Random) -> set[int]:
    """The keys of some accounts, one of which nobody waits for."""
    keys = sorted({key for position in lines.rows for key in lines.keys_of(position)})
    return {*random.sample(keys, random.randint(1, len(keys))), 0}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_gathered_are_the_oldest_of_the_lines(engine: Engine, lines: Lines, seed: int) -> None:
    """Were a younger one read and an older one not, it would overtake."""
    random = Random(seed)
    with engine.pool.connection() as conn:
        for _ in range(40):
            keys, up_to, limit = some_keys(lines, random), random.randint(0, 61), random.choice((1, 3, 10, 200))
            gathered, _ = books.gather(conn, keys, up_to=up_to, limit=limit)

            assert [row.position for row in gathered] == [row.position for row in lines.gather(keys, up_to, limit)]
            assert all(row.account_keys() == lines.keys_of(row.position) for row in gathered)


def test_the_heads_of_lines_come_with_all_of_their_accounts(engine: Engine, lines: Lines) -> None:
    """The accounts are what the next lines to be followed are found by."""
    random = Random(1)
    with engine.pool.connection() as conn:
        for _ in range(40):
            keys, up_to, limit = some_keys(lines, random), random.randint(0, 61), random.choice((1, 3, 200))
            read = books.read_lines(conn, keys, up_to=up_to, limit=limit)
            heads = {position for key in keys for position in [each for each in lines.of(key) if each <= up_to][:limit]}

            assert {each.position: each.account_keys for each in read} == {
                position: lines.keys_of(position) for position in heads
            }


def test_what_is_left_is_what_was_named_and_who_stands_first_before_it(engine: Engine, lines: Lines) -> None:
    """In order of position, so that the first message sent on has what must be done first."""
    random = Random(2)
    with engine.pool.connection() as conn:
        for _ in range(40):
            named = set(random.sample(sorted(lines.rows), random.randint(1, 12)))
            left = books.left_in_line(conn, named)

            assert [(each.position, each.account_keys) for each in left] == [
                (position, lines.keys_of(position)) for position in sorted(named_and_heads(lines, named))
            ]


def test_a_look_finds_who_is_pending_among_those_named(engine: Engine, lines: Lines) -> None:
    """One is enough to go to work for."""
    decided = sorted(lines.rows.keys() - lines.pending)
    with engine.pool.connection() as conn:
        assert not books.look(conn, decided)
        assert not books.look(conn, [])
        assert books.look(conn, [*decided, min(lines.pending)])
