"""The first sentence that an operator reads: right, short, and the most important one."""

from typing import Any

import pytest

from api_min.ops.document import Alert, Current, Firing, Job, Proof
from api_min.ops.verdict import judge, lasting

GOOD = Current(
    postgres_up=True,
    redis_up=True,
    leader=True,
    workers=2,
    oldest_pending_s=0.1,
    backlog=40,
    held_commands=0,
    quarantined_accounts=0,
    dead_letters=0,
)


def verdict(
    *, settled_per_s: float | None = 400.0, age_s: float = 1.0, grows: float | None = None, **changes: Any
) -> tuple[str, list[str]]:
    """The level and the words of a good moment, but for these; the oldest has ``grown`` so many seconds each second."""
    current = GOOD.model_copy(update=changes)
    now_s = current.oldest_pending_s or 0.0
    waits = [] if grows is None else [(1000.0 - ago, now_s - grows * ago) for ago in range(90, -1, -5)]
    found = judge(current, settled_per_s=settled_per_s, age_s=age_s, waits=waits)
    return found.level, found.words


@pytest.mark.parametrize(
    ("settled_per_s", "backlog", "words"),
    [
        (412.4, 40, "Money is moving: 412 commands a second are settled"),
        (0.4, 0, "Money is moving: 0.4 commands a second are settled"),
        (0.0, 3, "Money is moving: commands have just come in"),
        (0.0, 0, "Nothing to do: no command is waiting"),
        (None, 0, "Nothing to do: no command is waiting"),
    ],
)
def test_a_good_moment_is_one_calm_sentence(settled_per_s: float | None, backlog: int, words: str) -> None:
    """Nobody is to read a second one."""
    assert verdict(settled_per_s=settled_per_s, backlog=backlog, oldest_pending_s=0.0) == ("ok", [words])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0}, "Money is stuck: the oldest command waits 4 min, no worker runs"),
        ({"redis_up": False}, "Money is stuck: the oldest command waits 4 min, Redis does not answer"),
        (
            {"workers": 0, "leader": False},
            "Money is stuck: the oldest command waits 4 min, no worker runs, no scheduler leads",
        ),
        ({}, "Money is stuck: the oldest command waits 4 min, nothing is settled"),
    ],
)
def test_what_waits_too_long_is_stuck_and_the_cause_is_named(changes: dict[str, Any], words: str) -> None:
    """The cause is what somebody can do something about."""
    level, said = verdict(settled_per_s=0.0, oldest_pending_s=258.0, **changes)

    assert (level, said[0]) == ("stuck", words)
    assert len(said) == 1


def test_one_command_that_waits_behind_nobody_is_stuck_although_others_are_settled() -> None:
    """A fast system may hold one customer's money for ever; the speed of the rest must not hide it."""
    level, words = verdict(oldest_pending_s=300.0, backlog=1)

    assert level == "stuck"
    assert words == ["Money is stuck: the oldest command waits 5 min, others are settled meanwhile"]


@pytest.mark.parametrize(("waits_s", "level"), [(300.0, "warning"), (899.0, "warning"), (901.0, "stuck")])
def test_a_long_line_that_moves_is_late_and_not_stuck(waits_s: float, level: str) -> None:
    """Paging for a backlog that workers get through would be crying wolf; after a quarter of an hour it is not."""
    found, words = verdict(oldest_pending_s=waits_s, backlog=60_000, settled_per_s=200.0, grows=-0.5)

    assert found == level
    if level == "warning":
        assert words[0].startswith("Money is late, but moves")
        assert words[0].endswith("the backlog is gone in 5 min")


@pytest.mark.parametrize(
    ("grows", "level", "words"),
    [
        (1.0, "stuck", "Money is stuck: the oldest command waits 2 min, others are settled meanwhile"),
        (0.5, "warning", "Money is late, but moves: the oldest command waits 2 min, 11 commands wait"),
        (None, "warning", "Money is late, but moves: the oldest command waits 2 min, 11 commands wait"),
        (
            -0.1,
            "warning",
            "Money is late, but moves: the oldest command waits 2 min, at this speed the backlog is gone",
        ),
    ],
)
def test_a_trickle_beside_a_command_that_is_never_reached_is_no_line_that_moves(
    grows: float | None, level: str, words: str
) -> None:
    """One settled every ten seconds says nothing of the one that grows older as fast as the clock does."""
    found, said = verdict(oldest_pending_s=130.0, backlog=11, settled_per_s=0.1, grows=grows)

    assert found == level
    assert said[0].startswith(words)


def test_books_that_contradict_themselves_are_named() -> None:
    """What speed others have is beside the point: the accounts behind it are blocked until somebody acts."""
    level, words = verdict(
        books_errors=1, oldest_pending_s=40.0, backlog=11, firing=[Firing(name="BooksErrors", severity="page")]
    )

    assert level == "stuck"
    assert words == [
        "Money is stuck: the books contradict themselves. 1 batch not recorded in the last minutes, "
        "the oldest command waits 40 s; see the runbook bookserrors"
    ]
    assert verdict(books_errors=9, backlog=0)[0] == "ok"


def test_what_wakes_somebody_elsewhere_is_not_green_here() -> None:
    """An alert of Prometheus has its own words; one that only counts Florin's own is not said twice."""
    burning = Firing(name="IntakeBudgetBurningFast", severity="page", age_s=300.0, summary="2 % were answered 5xx")
    own = Firing(name="BooksBroken", severity="page", summary="Open alerts")
    pool = Firing(name="PoolExhausted", severity="ticket")

    assert verdict(firing=[burning, own]) == (
        "stuck",
        ["Alert IntakeBudgetBurningFast: 2 % were answered 5xx (for 5 min)"],
    )
    assert verdict(firing=[pool]) == ("warning", ["Alert PoolExhausted: it fires"])
    assert verdict(firing=[own])[0] == "ok"
    away = Current(postgres_up=False, firing=[Firing(name="PostgresAway", severity="page")])
    assert len(judge(away, settled_per_s=None, age_s=1.0).words) == 1


def test_a_database_that_does_not_give_everything_is_not_away() -> None:
    """Whoever reads that nothing is settled looks in the wrong place."""
    level, words = verdict(unread=["people", "seals"])

    assert (level, words) == ("warning", ["Not everything is known: Postgres did not give people, seals in time"])


@pytest.mark.parametrize(
    ("waits_s", "changes", "level"),
    [
        (9.9, {}, "ok"),
        (10.0, {}, "warning"),
        (59.9, {}, "warning"),
        (60.0, {}, "stuck"),
        (10.0, {"workers": 0}, "stuck"),
        (9.9, {"workers": 0}, "warning"),
        (10.0, {"redis_up": False}, "stuck"),
    ],
)
def test_the_limits_are_where_they_are_said_to_be(waits_s: float, changes: dict[str, Any], level: str) -> None:
    """Where nothing can be settled, there is nothing to wait for."""
    assert verdict(settled_per_s=0.0, oldest_pending_s=waits_s, **changes)[0] == level


def test_a_database_that_is_away_comes_first() -> None:
    """Everything else follows from it, and most of it is not known."""
    gone = Current(postgres_up=False, redis_up=True, workers=2)
    found = judge(gone, settled_per_s=None, age_s=1.0)

    assert found.level == "stuck"
    assert found.words == ["Money is stuck: Postgres is away, so nothing is accepted or settled"]


def test_nothing_known_is_not_all_well() -> None:
    """Green for figures that nobody has would be the worst of lies."""
    assert judge(Current(), settled_per_s=None, age_s=1.0).level == "warning"
    assert verdict(age_s=31.0) == ("warning", ["These figures are 31 s old: what happens now is not known"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0, "backlog": 0}, "No worker runs: what is accepted waits"),
        ({"redis_up": False}, "Redis does not answer: commands are accepted, and settled once it is back"),
        ({"leader": False}, "No scheduler leads: nothing is collected, and what the queue lost is not sent again"),
        ({"dead_letters": 1}, "1 dead letter: see florin dead-letters list"),
        ({"held_commands": 1204, "quarantined_accounts": 1}, "1,204 commands held, 1 account in quarantine"),
        ({"oldest_pending_s": 25.0, "backlog": 3}, "Money is slow: the oldest command waits 25 s"),
        (
            {"jobs": [Job(job="sweep", age_s=67.0, period_s=2.0), Job(job="seal", age_s=67.0, period_s=60.0)]},
            "The job sweep is late: it last succeeded 67 s ago",
        ),
        (
            {"proofs": [Proof(proof="zero_sum", proven_age_s=700.0, breaks=0), Proof(proof="seals", proven_age_s=9.0)]},
            "zero_sum was last proven 11 min ago",
        ),
        (
            {"alerts": [Alert(proof="reconciliation", severity="ticket", count=3, oldest_age_s=4000.0)]},
            "To look at today: 3 alerts open (reconciliation), the oldest for 66 min",
        ),
    ],
)
def test_what_can_wait_until_somebody_has_time_is_a_warning(changes: dict[str, Any], words: str) -> None:
    """Each by itself, with what it means or where to look."""
    assert verdict(**changes) == ("warning", [words])


def test_books_in_doubt_are_for_now() -> None:
    """An alert that pages is red, whatever moves; the oldest of its proofs is named first, and not all of them."""
    alerts = [Alert(proof=f"proof_{n}", severity="page", count=1, oldest_age_s=float(n * 100)) for n in range(1, 6)]
    level, words = verdict(alerts=alerts, dead_letters=2)

    assert level == "stuck"
    assert words == [
        "The books are in doubt: 5 alerts open (proof_5, proof_4, proof_3 and others), the oldest for 8 min",
        "2 dead letters: see florin dead-letters list",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.21, "3.2 s"), (45, "45 s"), (119, "119 s"), (120, "2 min"), (7260, "2 h 1 min"), (172_800, "2 days")],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    """Nobody counts 15,480 seconds in the night."""
    assert lasting(seconds) == words
