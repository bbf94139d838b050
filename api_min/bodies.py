"""What a client sends, checked field by field, and turned into whole minor units."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, cast

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

from api_min.problem import ProblemError
from processor import money
from processor.submissions import CommandBody

MAX_COMMAND_BYTES: Final = 64 * 1024

ACCOUNT_PATTERN: Final = "^[A-Za-z0-9._:-]{1,64}$"
_METADATA_ENTRIES: Final = 20
_MAX_FIELDS: Final = 50


def _known_currency(code: str) -> str:
    money.exponent(code)
    return code


def _no_number(amount: object) -> object:
    if not isinstance(amount, str):
        raise ValueError('amounts are decimal strings such as "10.50", never JSON numbers')
    return amount


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
Text = Annotated[str, Field(max_length=255), AfterValidator(_storable)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_storable)]
Metadata = Annotated[
    dict[MetadataKey, Annotated[str, Field(max_length=500), AfterValidator(_storable)]],
    Field(max_length=_METADATA_ENTRIES, description="Up to 20 strings of your own, kept with the command"),
]


class _Body(BaseModel):
    """What every command has. A field that is not known is refused: it may have been meant for something."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

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
    amount: Amount

    @field_validator("amount")
    @classmethod
    def _amount_of_its_currency(cls, amount: str, info: ValidationInfo) -> str:
        if "currency" in info.data:
            money.parse_amount(amount, info.data["currency"])
        return amount


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


AnyBody = Annotated[OpenAccountBody | DepositBody | WithdrawBody | TransferBody, Field(discriminator="type")]
ADAPTER: Final[TypeAdapter[Any]] = TypeAdapter(AnyBody)


def read_json(data: bytes) -> object:
    """The JSON value, or a ``malformed`` problem that says where it breaks off."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ProblemError("malformed", f"The body is not JSON: {error}") from None


def read_command(value: object) -> CommandBody:
    """The command in a JSON value, or an ``invalid`` problem that names each wrong field."""
    if not isinstance(value, dict):
        raise ProblemError("invalid", "A command is a JSON object.", [("", "give an object")])
    if len(value) > _MAX_FIELDS:
        # An error for each of a million fields would take the whole process's time.
        raise ProblemError("invalid", f"A command has fewer than {_MAX_FIELDS} fields.")
    try:
        return cast(_Body, ADAPTER.validate_python(value)).to_command_body()
    except ValidationError as error:
        errors = [(_name(each["loc"]), _message(each)) for each in error.errors(include_url=False)]
        raise ProblemError("invalid", "A field of the command is missing or wrong.", errors) from None


def _name(location: Sequence[int | str]) -> str:
    """``metadata.colour`` of ("deposit", "metadata", "colour"): the first is the type, which is no field."""
    return ".".join(str(part) for part in location[1:]) or "type"


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return "give one of open_account, deposit, withdraw, transfer"
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    return str(error["msg"]).removeprefix("Value error, ")
