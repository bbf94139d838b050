"""How a bank's CSV is to be read: a small TOML or JSON file that names its columns and says how it writes things."""

import codecs
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from processor.reconciliation.statements import FileError, known_currency


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(f"no encoding {name!r}: give a name such as utf-8, cp1252 or iso-8859-2") from None
    return name


class Columns(BaseModel):
    """The names of the columns, as the file's header has them. Only the date and the amount are needed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    date: str
    amount: str | None = None
    """The one column of amounts; or ``credit`` and ``debit``, of which each line has one."""
    credit: str | None = None
    debit: str | None = None
    direction: str | None = None
    """Says which way the money went, by the words of ``credit_words`` and ``debit_words``."""
    currency: str | None = None
    balance: str | None = None
    """The balance after the line."""
    bank_reference: str | None = None
    reference: str | None = None
    end_to_end_id: str | None = None
    batch: str | None = None
    counterparty: str | None = None
    text: str | list[str] | None = None
    """One column, or several that are put together."""


class Mapping(BaseModel):
    """Everything that differs between the files of two banks."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    columns: Columns
    date_format: str = "%Y-%m-%d"
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    sign: Literal["signed", "reversed", "direction", "columns"] = "signed"
    """Below zero is a debit, or ``reversed`` a credit; or the column ``direction`` says; or there are two columns."""
    credit_words: list[str] = Field(["credit", "C", "CR", "CRDT"], min_length=1)
    debit_words: list[str] = Field(["debit", "D", "DR", "DBIT"], min_length=1)
    currency: Annotated[str, AfterValidator(known_currency)] | None = None
    """Of the whole file, if no column has it."""
    delimiter: str = Field(",", min_length=1, max_length=1)
    quote: str = Field('"', min_length=1, max_length=1)
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8-sig"
    skip_lines: int = Field(0, ge=0, le=1000)
    """Lines before the header."""
    skip_last_lines: int = Field(0, ge=0, le=1000)
    """Lines after the last entry, such as a total."""
    order: Literal["oldest_first", "newest_first"] = "oldest_first"

    @model_validator(mode="after")
    def _one_way_to_say_the_amount(self) -> Self:
        wanted = {"columns": ["credit", "debit"], "direction": ["amount", "direction"]}.get(self.sign, ["amount"])
        for name in ("amount", "credit", "debit", "direction"):
            if (getattr(self.columns, name) is not None) is not (name in wanted):
                needs = "needs" if name in wanted else "has no use for"
                raise ValueError(f'sign = "{self.sign}" {needs} columns.{name}')
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands must be two characters")
        return self


def read_mapping(path: Path) -> Mapping:
    """The mapping in a .toml or .json file. Raises ``FileError`` that names each field that is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError([("", f"the mapping {path} cannot be read: {error.strerror}")]) from None
    try:
        values = orjson.loads(data) if path.suffix == ".json" else tomllib.loads(data.decode())
        return Mapping.model_validate(values)
    except ValidationError as error:
        wrong = [
            (".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")) for each in error.errors()
        ]
        raise FileError([(f"{path}: {place}".rstrip(": "), message) for place, message in wrong]) from None
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise FileError([("", f"the mapping {path} is not {kind}: {error}")]) from None
