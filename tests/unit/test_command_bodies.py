"""What can be no hold, limit, reversal or adjustment is refused field by field; what can be is read as it was meant."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest

from api_min import examples
from api_min.bodies import ADAPTER, read_command
from api_min.problem import ProblemError
from processor.domain.commands import MAX_AMOUNT_MINOR, UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.keys import ADMIN, WRITE, Client

ID: Final = "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"
OF: Final = {"account": "1001", "currency": "USD"}
WHY: Final = {"reason": "the owner asked"}

HOLD: Final = {"type": "place_hold", **OF, "amount": "10.50"}
CAPTURE: Final = {"type": "capture_hold", **OF, "hold_id": ID}
RELEASE: Final = {"type": "release_hold", **OF, "hold_id": ID}
FREEZE: Final = {"type": "freeze", **OF, **WHY}
UNFREEZE: Final = {"type": "unfreeze", **OF, **WHY}
CLOSE: Final = {"type": "close", **OF, **WHY}
LIMITS: Final = {"type": "set_limits", **OF, **WHY, "daily_count": 3}
REVERSE: Final = {"type": "reverse", "command": ID, **WHY}
ADJUST: Final = {
    "type": "adjust",
    "from_account": "@suspense:USD",
    "to_account": "1001",
    "amount": "1.00",
    "currency": "USD",
    **WHY,
}
BODIES: Final[list[dict[str, Any]]] = [HOLD, CAPTURE, RELEASE, FREEZE, UNFREEZE, CLOSE, LIMITS, REVERSE, ADJUST]

WRITER: Final = Client(1, "shop", frozenset({WRITE}))
OPERATOR: Final = Client(2, "operator", frozenset({ADMIN}))


def by_type(value: object) -> str:
    """What a case of a test is called."""
    return str(value.get("type", value)) if isinstance(value, dict) else str(value)[:20]


def wrong(body: dict[str, Any]) -> dict[str, str]:
    """The message for each field that is wrong."""
    with pytest.raises(ProblemError) as refused:
        read_command(body, OPERATOR)
    assert refused.value.kind == "invalid"
    return dict(refused.value.errors)


@pytest.mark.parametrize("body", BODIES, ids=by_type)
def test_each_can_be_read(body: dict[str, Any]) -> None:
    """Otherwise all the refusals below would prove nothing."""
    assert read_command(body, OPERATOR).type == body["type"]


def test_every_type_has_an_example_that_can_be_sent() -> None:
    """Whoever begins copies one from the description."""
    types = {read_command(example["value"], OPERATOR).type for example in examples.COMMANDS.values()}
    description = ADAPTER.json_schema()

    assert types == set(examples.COMMANDS) == set(description["discriminator"]["mapping"])


@pytest.mark.parametrize(
    ("body", "name"), [(body, name) for body in BODIES for name in body if name != "daily_count"], ids=by_type
)
def test_a_field_that_is_missing_is_named(body: dict[str, Any], name: str) -> None:
    """Each by its own name, so that the client mends the right one."""
    assert list(wrong({field: value for field, value in body.items() if field != name})) == [name]


@pytest.mark.parametrize("body", BODIES, ids=by_type)
@pytest.mark.parametrize("name", ["amount_minor", "daily_amount_minor", "client", "balance", "Force"])
def test_a_field_that_is_not_known_is_refused(body: dict[str, Any], name: str) -> None:
    """It may have been meant for something that would then not happen."""
    assert wrong(body | {name: "1"}) == {name: "there is no such field"}


@pytest.mark.parametrize(
    ("body", "change", "field"),
    [
        (HOLD, {"amount": "0.00"}, "amount"),
        (HOLD, {"amount": "1.005"}, "amount"),
        (HOLD, {"amount": 1}, "amount"),
        (HOLD, {"account": "@settlement:USD"}, "account"),
        (HOLD, {"reason": "why"}, "reason"),
        (CAPTURE, {"amount": "0"}, "amount"),
        (CAPTURE, {"amount": 1.5}, "amount"),
        (CAPTURE, {"hold_id": "17"}, "hold_id"),
        (CAPTURE, {"hold_id": 17}, "hold_id"),
        (CAPTURE, {"to_account": "1001"}, "to_account"),
        (CAPTURE, {"to_account": "@fee_income:USD"}, "to_account"),
        (RELEASE, {"hold_id": None}, "hold_id"),
        (RELEASE, {"amount": "1.00"}, "amount"),
        (FREEZE, {"reason": ""}, "reason"),
        (UNFREEZE, {"reason": None}, "reason"),
        (CLOSE, {"reason": "x" * 256}, "reason"),
        (CLOSE, {"account": "a b"}, "account"),
        (LIMITS, {"daily_count": -1}, "daily_count"),
        (LIMITS, {"daily_count": 1_000_001}, "daily_count"),
        (LIMITS, {"daily_count": "3"}, "daily_count"),
        (LIMITS, {"daily_count": 3.0}, "daily_count"),
        (LIMITS, {"daily_count": True}, "daily_count"),
        (LIMITS, {"daily_count": "Unlimited"}, "daily_count"),
        (LIMITS, {"daily_amount": "-1.00"}, "daily_amount"),
        (LIMITS, {"daily_amount": 5}, "daily_amount"),
        (LIMITS, {"daily_amount": "UNLIMITED"}, "daily_amount"),
        (LIMITS, {"overdraft_limit": "unlimited"}, "overdraft_limit"),
        (LIMITS, {"overdraft_fee": "0.001"}, "overdraft_fee"),
        (REVERSE, {"command": "17"}, "command"),
        (REVERSE, {"command": None}, "command"),
        (REVERSE, {"force": "true"}, "force"),
        (REVERSE, {"force": 1}, "force"),
        (REVERSE, {"currency": "USD"}, "currency"),
        (REVERSE, {"account": "1001"}, "account"),
        (ADJUST, {"amount": "0.00"}, "amount"),
        (ADJUST, {"force": None}, "force"),
        (ADJUST, {"to_account": "@suspense:USD"}, "to_account"),
        (ADJUST, {"from_account": "1001"}, "to_account"),
        (ADJUST, {"from_account": "@suspense:EUR"}, "from_account"),
        (ADJUST, {"from_account": "@suspense"}, "from_account"),
        (ADJUST, {"from_account": "@suspense:usd"}, "from_account"),
        (ADJUST, {"from_account": "@profit:USD"}, "from_account"),
        (ADJUST, {"from_account": "@advances_receivable:USD"}, "from_account"),
        (ADJUST, {"from_account": "@suspense:USD\n"}, "from_account"),
        (ADJUST, {"currency": "ABC"}, "currency"),
    ],
    ids=by_type,
)
def test_a_field_that_is_wrong_is_named(body: dict[str, Any], change: dict[str, Any], field: str) -> None:
    """That one, with words, and no other."""
    errors = wrong(body | change)

    assert list(errors) == [field]
    assert len(errors[field]) > 10


@pytest.mark.parametrize(
    "instant",
    [
        *(1_795_780_800, None, "", "2026-11-27", "2026-11-27T12:00:00", "2026-11-27 12:00:00Z", "2026-11-27T12:00Z"),
        *("2026-11-27T12:00:00+0100", "2026-11-27T12:00:00.1234567Z", "2026-11-27T12:00:00Z\n", "2026-W48-5T12:00:00Z"),
        *("2026-02-29T12:00:00Z", "2026-11-27T24:00:01Z", "2026-11-27T12:00:60Z", "2026-11-27T12:00:00+24:00"),
        *("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00Z", "tomorrow"),
        "\u0968\u0966\u0968\u096c-11-27T12:00:00Z",
    ],
    ids=str,
)
def test_what_is_no_instant_is_refused(instant: object) -> None:
    """Without its offset, nobody knows when it is: an hour too early, and the money is somebody else's."""
    if instant is None:
        assert read_command(HOLD | {"expires_at": None}, WRITER).expires_at is None
    else:
        assert list(wrong(HOLD | {"expires_at": instant})) == ["expires_at"]


@pytest.mark.parametrize(
    "instant",
    [
        *("2026-11-27T12:00:00Z", "2026-11-27t12:00:00z", "2026-11-27T13:00:00+01:00", "2026-11-27T00:30:00-11:30"),
        *("2026-11-27T12:00:00.000000Z", "2026-11-27T12:00:00.0+00:00", "2026-11-27T12:00:00-00:00"),
    ],
)
def test_an_instant_is_the_same_whatever_its_offset(instant: str) -> None:
    """Two ways to write it are one request: a retry from another zone is a replay."""
    assert read_command(HOLD | {"expires_at": instant}, WRITER).expires_at == datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_limits_that_set_nothing_are_refused() -> None:
    """It is a mistake, and the answer says what could have been meant."""
    errors = wrong({"type": "set_limits", **OF, **WHY})

    assert list(errors) == [""]
    assert "overdraft_limit, overdraft_fee, daily_count, daily_amount" in errors[""]


def test_unlimited_is_said_in_words() -> None:
    """No number has to be remembered; zero is a limit as well, and the strictest."""
    free = read_command(LIMITS | {"daily_count": "unlimited", "daily_amount": "unlimited"}, OPERATOR)
    strict = read_command(LIMITS | {"daily_count": 0, "daily_amount": "0"}, OPERATOR)

    assert (free.daily_count, free.daily_amount_minor) == (UNLIMITED_COUNT, UNLIMITED_MINOR)
    assert (strict.daily_count, strict.daily_amount_minor) == (0, 0)
    assert (strict.overdraft_limit_minor, strict.overdraft_fee_minor) == (None, None)


def test_the_amounts_of_one_command_are_all_in_its_currency() -> None:
    """JPY has no decimals, KWD three."""
    yen = read_command(LIMITS | {"currency": "JPY", "overdraft_limit": "100", "daily_amount": "5000"}, OPERATOR)
    dinar = read_command(ADJUST | {"currency": "KWD", "from_account": "@suspense:KWD", "amount": "1.005"}, OPERATOR)

    assert (yen.overdraft_limit_minor, yen.daily_amount_minor) == (100, 5_000)
    assert dinar.amount_minor == 1_005
    assert list(wrong(HOLD | {"currency": "JPY", "amount": "10.50"})) == ["amount"]


def test_a_capture_may_leave_out_how_much_and_to_whom() -> None:
    """All of it, and out of the bank; what is said is kept."""
    plain = read_command(CAPTURE, WRITER)
    full = read_command(CAPTURE | {"amount": "1.00", "to_account": "shop"}, WRITER)

    assert (plain.hold_id, plain.amount_minor, plain.to_account) == (UUID(ID), None, None)
    assert (full.amount_minor, full.to_account) == (100, "shop")


@pytest.mark.parametrize("kind", ["settlement", "fee_income", "suspense", "credit_loss"])
def test_an_adjustment_may_name_the_banks_own_accounts(kind: str) -> None:
    """On either side, or on both: but not what is lent, which has commands of its own."""
    into = read_command(ADJUST | {"to_account": f"@{kind}:USD", "from_account": "1001"}, OPERATOR)
    out_of = read_command(ADJUST | {"from_account": f"@{kind}:USD"}, OPERATOR)

    assert into.to_account == out_of.from_account == f"@{kind}:USD"


@pytest.mark.parametrize(
    ("body", "is_for_admins"),
    [
        *((body, False) for body in (HOLD, CAPTURE, RELEASE, CLOSE, REVERSE, REVERSE | {"force": False})),
        *((body, True) for body in (FREEZE, UNFREEZE, LIMITS, ADJUST, REVERSE | {"force": True})),
    ],
    ids=by_type,
)
def test_what_is_for_admins_needs_their_scope(body: dict[str, Any], is_for_admins: bool) -> None:
    """A client may end its own account and take its own mistake back; nobody but the bank may override a rule."""
    assert read_command(body, OPERATOR).type == body["type"]
    if not is_for_admins:
        assert read_command(body, WRITER).type == body["type"]
        return
    with pytest.raises(ProblemError) as refused:
        read_command(body, WRITER)
    assert refused.value.kind == "forbidden"


@pytest.mark.parametrize("type_", ["deposit", "withdraw"])
def test_a_bank_transaction_says_what_it_is_for(type_: str) -> None:
    """Interest or cash has no other customer on its other side: the reason says what it was. It may be left out."""
    body = {"type": type_, **OF, "amount": "1.00"}

    assert read_command(body | {"reason": "interest for October"}, WRITER).reason == "interest for October"
    assert read_command(body, WRITER).reason is None
    assert list(wrong(body | {"reason": ""})) == ["reason"]


def test_the_largest_amount_is_the_largest_limit() -> None:
    """Beyond it, JSON readers round."""
    largest = read_command(LIMITS | {"overdraft_limit": "90071992547409.91"}, OPERATOR)

    assert largest.overdraft_limit_minor == MAX_AMOUNT_MINOR
    assert list(wrong(LIMITS | {"overdraft_limit": "90071992547409.92"})) == ["overdraft_limit"]
