"""What a client sends, checked field by field, and turned into whole minor units."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, ClassVar, Final, Literal, cast, get_args
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from api_min.auth import require
from api_min.problem import ProblemError
from processor import keys, money
from processor.domain.commands import MAX_INSTALMENTS
from processor.keys import Client
from processor.submissions import CommandBody

MAX_COMMAND_BYTES: Final = 64 * 1024

ACCOUNT_PATTERN: Final = "^[A-Za-z0-9._:-]{1,64}$"
_METADATA_ENTRIES: Final = 20
_MAX_FIELDS: Final = 50
_DEFAULT_INSTALMENTS: Final = 12

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
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
Text = Annotated[str, Field(max_length=255), AfterValidator(_storable)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_storable)]
Metadata = Annotated[
    dict[MetadataKey, Annotated[str, Field(max_length=500), AfterValidator(_storable)]],
    Field(max_length=_METADATA_ENTRIES, description="Up to 20 strings of your own, kept with the command"),
]


class _Body(BaseModel):
    """What every command has. A field that is not known is refused: it may have been meant for something."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    scope: ClassVar[str] = keys.WRITE
    """What a key needs to send it."""

    currency: Currency
    reference: Text | None = Field(None, description="Yours, for statements", examples=["invoice 17"])
    metadata: Metadata | None = None

    def to_command_body(self) -> CommandBody:
        """The command as it is stored: amounts in minor units, and nothing else changed."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        for name in ("amount", "overdraft_limit", "overdraft_fee"):
            if name in fields:
                fields[f"{name}_minor"] = money.parse_amount(fields.pop(name), self.currency, zero=True)
        return CommandBody(**fields)


class _Amounted(_Body):
    amount: AmountAboveZero


class OpenAccountBody(_Body):
    """Open an account."""

    type: Literal["open_account"]
    account: Account
    overdraft_limit: Amount = Field("0", description="How far below zero the balance may go")
    overdraft_fee: Amount = Field("0", description="Charged by a withdrawal that ends below zero")

    @field_validator("overdraft_limit", "overdraft_fee")
    @classmethod
    def _amount_of_its_currency(cls, amount: str, info: ValidationInfo) -> str:
        if "currency" in info.data:
            money.parse_amount(amount, info.data["currency"], zero=True)
        return amount


class DepositBody(_Amounted):
    """Money comes in from outside."""

    type: Literal["deposit"]
    account: Account


class WithdrawBody(_Amounted):
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


class WriteOffBody(_Body):
    """What is left of an advance is given up. For admins."""

    scope: ClassVar[str] = keys.ADMIN

    type: Literal["write_off"]
    account: Account
    advance_id: AdvanceId
    reason: Annotated[
        str,
        Field(min_length=1, max_length=255, description="Why, for those who read the books later"),
        AfterValidator(_storable),
    ]


AnyBody = Annotated[
    OpenAccountBody | DepositBody | WithdrawBody | TransferBody | AdvanceBody | RepayBody | WriteOffBody,
    Field(discriminator="type"),
]
ADAPTER: Final[TypeAdapter[Any]] = TypeAdapter(AnyBody)

_TYPES: Final = [
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
        body = cast(_Body, ADAPTER.validate_python(value))
    except ValidationError as error:
        errors = [(_name(each["loc"]), _message(each)) for each in error.errors(include_url=False)]
        raise ProblemError("invalid", "A field of the command is missing or wrong.", errors) from None
    require(client, body.scope)
    return body.to_command_body()


def _name(location: Sequence[int | str]) -> str:
    """``metadata.colour`` of ("deposit", "metadata", "colour"): the first is the type, which is no field."""
    return ".".join(str(part) for part in location[1:]) or "type"


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"give one of {', '.join(_TYPES)}"
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    return str(error["msg"]).removeprefix("Value error, ")
