"""What a client sends, checked field by field, and turned into whole minor units."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast, get_args
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from api_min.auth import require
from api_min.problem import ProblemError
from processor import keys, money
from processor.domain.commands import MAX_INSTALMENTS, UNLIMITED_COUNT, UNLIMITED_MINOR
from processor.keys import Client
from processor.submissions import CommandBody

MAX_COMMAND_BYTES: Final = 64 * 1024

ACCOUNT_PATTERN: Final = "^[A-Za-z0-9._:-]{1,64}$"
_METADATA_ENTRIES: Final = 20
_MAX_FIELDS: Final = 50
_DEFAULT_INSTALMENTS: Final = 12

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_AMOUNTS: Final = ("amount", "overdraft_limit", "overdraft_fee", "daily_amount")
_LIMITS: Final = ("overdraft_limit", "overdraft_fee", "daily_count", "daily_amount")
_ADJUSTABLE: Final = ("settlement", "fee_income", "suspense", "credit_loss")
"""The bank's own accounts that a correction may touch: what is lent has commands of its own."""

UNLIMITED: Final = "unlimited"
_MAX_DAILY_COUNT: Final = 1_000_000

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _known_currency(code: str) -> str:
    money.exponent(code)
    return code


def _no_number(amount: object) -> object:
    if not isinstance(amount, str):
        raise ValueError('amounts are decimal strings such as "10.50", never JSON numbers')
    return amount


def _above_zero(amount: str, info: ValidationInfo) -> str:
    if "currency" in info.data:
        money.parse_amount(amount, info.data["currency"])
    return amount


def _day(text: object) -> date:
    if not isinstance(text, str) or _DAY.fullmatch(text) is None:
        raise ValueError('not a day: give a string such as "2026-11-27"')
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"the calendar has no day {text}") from None


def _instant(text: object) -> datetime:
    if not isinstance(text, str) or _INSTANT.fullmatch(text) is None:
        raise ValueError('not an instant: give a string such as "2026-11-27T12:00:00Z"')
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"there is no instant {text}") from None


def _from_zero(amount: str, info: ValidationInfo) -> str:
    if "currency" in info.data:
        money.parse_amount(amount, info.data["currency"], zero=True)
    return amount


def _from_zero_or_unlimited(amount: str, info: ValidationInfo) -> str:
    return amount if amount == UNLIMITED else _from_zero(amount, info)


def _count(count: object) -> int:
    if count == UNLIMITED:
        return UNLIMITED_COUNT
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MAX_DAILY_COUNT:
        raise ValueError(f'give a whole number from 0 to {_MAX_DAILY_COUNT}, or "{UNLIMITED}"')
    return count


def _uuid(text: object) -> UUID:
    if not isinstance(text, str) or _UUID.fullmatch(text) is None:
        raise ValueError('not an id: give the "id" of the receipt, such as "0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"')
    return UUID(text)


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("the character U+0000 cannot be stored")
    return text


Account = Annotated[
    str, Field(pattern=ACCOUNT_PATTERN, description="1 to 64 of A-Z a-z 0-9 . _ : -", examples=["1001"])
]
Currency = Annotated[
    str,
    Field(pattern="^[A-Z]{3}$", description="ISO 4217 code", examples=["USD"]),
    AfterValidator(_known_currency),
]
Amount = Annotated[
    str,
    BeforeValidator(_no_number),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,6})?$",
            "description": "Decimal string in the currency's own exponent: 10.50 USD, 1050 JPY, 1.050 KWD",
            "examples": ["10.50"],
        }
    ),
]
AmountAboveZero = Annotated[Amount, AfterValidator(_above_zero)]
Day = Annotated[date, BeforeValidator(_day), Field(examples=["2026-11-27"])]
AdvanceId = Annotated[
    UUID,
    BeforeValidator(_uuid),
    Field(
        description="The id of the command that granted the advance", examples=["0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"]
    ),
]
HoldId = Annotated[
    UUID,
    BeforeValidator(_uuid),
    Field(description="The id of the command that placed it", examples=["0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"]),
]
CommandId = Annotated[
    UUID,
    BeforeValidator(_uuid),
    Field(description="The id of the command", examples=["0199a0b2-7d5e-7c3a-9f11-3a1f0c2d4e5f"]),
]
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    Field(description="An instant with its offset from UTC, as RFC 3339 has it", examples=["2026-11-27T12:00:00Z"]),
]
OverdraftLimit = Annotated[Amount, AfterValidator(_from_zero)]
OverdraftFee = Annotated[Amount, AfterValidator(_from_zero)]
DailyAmount = Annotated[
    str,
    BeforeValidator(_no_number),
    AfterValidator(_from_zero_or_unlimited),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^({UNLIMITED}|(0|[1-9][0-9]{{0,17}})(\.[0-9]{{1,6}})?)$",
            "examples": ["500.00", UNLIMITED],
        }
    ),
]
DailyCount = Annotated[
    int,
    PlainValidator(_count),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": _MAX_DAILY_COUNT}, {"const": UNLIMITED}],
            "examples": [10, UNLIMITED],
        }
    ),
]
AnyAccount = Annotated[
    str,
    Field(
        pattern=f"{ACCOUNT_PATTERN}|^@({'|'.join(_ADJUSTABLE)}):[A-Z]{{3}}$",
        description=f"An account, or one of the bank's own in its currency: @ and {', '.join(_ADJUSTABLE)}",
        examples=["1001", "@suspense:USD"],
    ),
]
Text = Annotated[str, Field(max_length=255), AfterValidator(_storable)]
Reason = Annotated[
    str,
    Field(min_length=1, max_length=255, description="Why, for those who read the books later"),
    AfterValidator(_storable),
]
MetadataKey = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_storable)]
Metadata = Annotated[
    dict[MetadataKey, Annotated[str, Field(max_length=500), AfterValidator(_storable)]],
    Field(max_length=_METADATA_ENTRIES, description="Up to 20 strings of your own, kept with the command"),
]


class _Command(BaseModel):
    """What every command has. A field that is not known is refused: it may have been meant for something."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    scope: ClassVar[str] = keys.WRITE
    """What a key needs to send it."""

    reference: Text | None = Field(None, description="Yours, for statements", examples=["invoice 17"])
    metadata: Metadata | None = None

    def needs(self) -> str:
        """What a key needs to send just this one."""
        return self.scope

    def to_command_body(self) -> CommandBody:
        """The command as it is stored: amounts in minor units, and nothing else changed."""
        raise NotImplementedError


class _Body(_Command):
    currency: Currency

    def to_command_body(self) -> CommandBody:
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        for name in _AMOUNTS:
            if (amount := fields.pop(name, None)) is not None:
                unlimited = amount == UNLIMITED
                minor = UNLIMITED_MINOR if unlimited else money.parse_amount(amount, self.currency, zero=True)
                fields[f"{name}_minor"] = minor
        return CommandBody(**fields)


class _Amounted(_Body):
    amount: AmountAboveZero


class _Booked(_Amounted):
    reason: Reason | None = Field(None, description="What for, if it is the bank's own: interest, a correction, cash")


class _Reasoned(_Body):
    """For those who act on somebody else's account, and say why."""

    reason: Reason


class OpenAccountBody(_Body):
    """Open an account."""

    type: Literal["open_account"]
    account: Account
    overdraft_limit: OverdraftLimit | None = Field(
        None, description="How far below zero the balance may go. Left out: as the bank has it for this currency"
    )
    overdraft_fee: OverdraftFee | None = Field(
        None, description="Charged by a withdrawal that ends below zero. Left out: as the bank has it"
    )


class DepositBody(_Booked):
    """Money comes in from outside."""

    type: Literal["deposit"]
    account: Account


class WithdrawBody(_Booked):
    """Money goes out."""

    type: Literal["withdraw"]
    account: Account


class TransferBody(_Amounted):
    """Money moves between two accounts of one currency."""

    type: Literal["transfer"]
    from_account: Account
    to_account: Account

    @field_validator("to_account")
    @classmethod
    def _two_accounts(cls, to_account: str, info: ValidationInfo) -> str:
        if to_account == info.data.get("from_account"):
            raise ValueError("from_account and to_account must be two accounts")
        return to_account


class AdvanceBody(_Body):
    """The bank lends, to be repaid in weekly instalments."""

    type: Literal["advance"]
    account: Account
    instalments: int = Field(
        _DEFAULT_INSTALMENTS, ge=1, le=MAX_INSTALMENTS, description="The weeks over which it is repaid"
    )
    first_due_on: Day | None = Field(None, description="Left out: a week after the advance is granted")
    # Declared behind the instalments, because its check reads them.
    amount: AmountAboveZero

    @field_validator("amount")
    @classmethod
    def _something_for_each_instalment(cls, amount: str, info: ValidationInfo) -> str:
        currency, instalments = info.data.get("currency"), info.data.get("instalments")
        if currency and instalments and money.parse_amount(amount, currency) < instalments:
            smallest = money.format_amount(instalments, currency)
            raise ValueError(
                f"too little for {instalments} instalments: give {smallest} {currency} at least, or fewer of them"
            )
        return amount


class RepayBody(_Amounted):
    """Part of an advance, or all that is left of it, is paid back early."""

    type: Literal["repay"]
    account: Account
    advance_id: AdvanceId


class WriteOffBody(_Reasoned):
    """What is left of an advance is given up. For admins."""

    scope: ClassVar[str] = keys.ADMIN

    type: Literal["write_off"]
    account: Account
    advance_id: AdvanceId


class PlaceHoldBody(_Amounted):
    """Part of what is available is reserved."""

    type: Literal["place_hold"]
    account: Account
    expires_at: Instant | None = Field(None, description="When it is released by itself. Left out: never")


class CaptureHoldBody(_Body):
    """What was reserved is taken, or part of it; the rest is given back."""

    type: Literal["capture_hold"]
    account: Account
    hold_id: HoldId
    amount: AmountAboveZero | None = Field(None, description="At most what is held. Left out: all of it")
    to_account: Account | None = Field(None, description="Who is paid. Left out: the money goes out")

    @field_validator("to_account")
    @classmethod
    def _two_accounts(cls, to_account: str | None, info: ValidationInfo) -> str | None:
        if to_account is not None and to_account == info.data.get("account"):
            raise ValueError("account and to_account must be two accounts")
        return to_account


class ReleaseHoldBody(_Body):
    """What was reserved is given back."""

    type: Literal["release_hold"]
    account: Account
    hold_id: HoldId


class FreezeBody(_Reasoned):
    """Nothing leaves the account any more; what comes in is taken. For admins."""

    scope: ClassVar[str] = keys.ADMIN

    type: Literal["freeze"]
    account: Account


class UnfreezeBody(_Reasoned):
    """Money may leave the account again. For admins."""

    scope: ClassVar[str] = keys.ADMIN

    type: Literal["unfreeze"]
    account: Account


class CloseBody(_Reasoned):
    """The account, which is empty, ends for ever."""

    type: Literal["close"]
    account: Account


class SetLimitsBody(_Reasoned):
    """What the account may do is changed; what is left out stays as it is. For admins."""

    scope: ClassVar[str] = keys.ADMIN

    type: Literal["set_limits"]
    account: Account
    overdraft_limit: OverdraftLimit | None = Field(None, description="How far below zero the balance may go")
    overdraft_fee: OverdraftFee | None = Field(None, description="Charged by a withdrawal that ends below zero")
    daily_count: DailyCount | None = Field(
        None, description='Debits of one business day: withdrawals, transfers and holds; or "unlimited"'
    )
    daily_amount: DailyAmount | None = Field(None, description='How much these may be together; or "unlimited"')

    @model_validator(mode="after")
    def _something_to_set(self) -> Self:
        if all(getattr(self, name) is None for name in _LIMITS):
            raise ValueError(f"give at least one of {', '.join(_LIMITS)}")
        return self


class ReverseBody(_Command):
    """Every transfer of an applied command is mirrored, once. To force it is for admins."""

    type: Literal["reverse"]
    command: CommandId
    force: bool = Field(False, description="Though an account has not enough, or is frozen. For admins")
    reason: Reason

    def needs(self) -> str:
        return keys.ADMIN if self.force else self.scope

    def to_command_body(self) -> CommandBody:
        """Without currency and accounts yet: they are those of the command that it names."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        fields["reverses"] = fields.pop("command")
        return CommandBody(currency="", **fields)


class AdjustBody(_Amounted, _Reasoned):
    """A correction between any two accounts of one currency, the bank's own included. For admins."""

    scope: ClassVar[str] = keys.ADMIN

    type: Literal["adjust"]
    from_account: AnyAccount
    to_account: AnyAccount
    force: bool = Field(False, description="Though an account has not enough, or is frozen")

    @field_validator("from_account", "to_account")
    @classmethod
    def _of_its_currency(cls, name: str, info: ValidationInfo) -> str:
        currency = info.data.get("currency")
        if currency and name.startswith("@") and not name.endswith(f":{currency}"):
            raise ValueError(f"not an account in {currency}")
        if name == info.data.get("from_account"):
            raise ValueError("from_account and to_account must be two accounts")
        return name


AnyBody = Annotated[
    OpenAccountBody
    | DepositBody
    | WithdrawBody
    | TransferBody
    | AdvanceBody
    | RepayBody
    | WriteOffBody
    | PlaceHoldBody
    | CaptureHoldBody
    | ReleaseHoldBody
    | FreezeBody
    | UnfreezeBody
    | CloseBody
    | SetLimitsBody
    | ReverseBody
    | AdjustBody,
    Field(discriminator="type"),
]
ADAPTER: Final[TypeAdapter[Any]] = TypeAdapter(AnyBody)

TYPES: Final = [
    name for body in get_args(get_args(AnyBody)[0]) for name in get_args(body.model_fields["type"].annotation)
]


def read_json(data: bytes) -> object:
    """The JSON value, or a ``malformed`` problem that says where it breaks off."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ProblemError("malformed", f"The body is not JSON: {error}") from None


def read_command(value: object, client: Client) -> CommandBody:
    """
    The command in a JSON value.

    Raises an ``invalid`` problem that names each wrong field, or ``forbidden`` if the client may not send the command.
    """
    if not isinstance(value, dict):
        raise ProblemError("invalid", "A command is a JSON object.", [("", "give an object")])
    if len(value) > _MAX_FIELDS:
        # An error for each of a million fields would take the whole process's time.
        raise ProblemError("invalid", f"A command has fewer than {_MAX_FIELDS} fields.")
    try:
        body = cast(_Command, ADAPTER.validate_python(value))
    except ValidationError as error:
        errors = [(_name(each["loc"]), _message(each)) for each in error.errors(include_url=False)]
        raise ProblemError("invalid", "A field of the command is missing or wrong.", errors) from None
    require(client, body.needs())
    return body.to_command_body()


def _name(location: Sequence[int | str]) -> str:
    """
    ``metadata.colour`` of ("deposit", "metadata", "colour"): the first is the type, which is no field.

    What is wrong with all of them together has the name "", and what is wrong with the type has no location.
    """
    return ".".join(str(part) for part in location[1:]) if location else "type"


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"give one of {', '.join(TYPES)}"
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    return str(error["msg"]).removeprefix("Value error, ")
