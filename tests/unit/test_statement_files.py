"""Files of every format are read exactly, or rejected whole with a place and a reason."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.money import format_amount
from processor.reconciliation.mapping import Mapping, read_mapping
from processor.reconciliation.reading import guess_format, read_bytes, read_statement
from processor.reconciliation.statements import FileError, Statement, exact_minor

DATA: Final = Path(__file__).parents[1] / "data" / "statements"
MONDAY: Final = date(2026, 1, 5)


def read(name: str, mapping: str | None = None, **options: Any) -> Statement:
    """A file of the tests' data."""
    return read_statement(
        (DATA / name).read_bytes(), mapping=read_mapping(DATA / mapping) if mapping else None, **options
    )


def effects(statement: Statement) -> list[int]:
    """What each entry adds to the balance."""
    return [entry.effect_minor for entry in statement.entries]


# What the formats say.


@pytest.mark.parametrize(
    ("name", "mapping", "format", "currency", "opening", "moved", "skipped"),
    [
        ("camt053-v02.xml", None, "camt053", "EUR", 100_000, [10_050, 1_000, 2_000, -1_551], 1),
        ("camt053-v08.xml", None, "camt053", "KWD", 0, [1_001, -1_500], 0),
        ("statement.mt940", None, "mt940", "EUR", 100_000, [10_050, -1_551, -2_000], 0),
        ("bank.csv", "bank.toml", "csv", "EUR", 100_000, [110_050, -2_000], 0),
        ("psp.csv", "psp.json", "csv", "JPY", None, [1_050, -300], 0),
    ],
)
def test_every_format_says_the_same_kind_of_thing(
    *, name: str, mapping: str | None, format: str, currency: str, opening: int | None, moved: list[int], skipped: int
) -> None:
    """To the last unit, in the currency's own decimals; and the closing balance is where the lines lead."""
    statement = read(name, mapping)

    assert (statement.format, statement.currency, statement.skipped) == (format, currency, skipped)
    assert (statement.opening_minor, effects(statement)) == (opening, moved)
    assert statement.closing_minor == (None if opening is None else opening + sum(moved))


def test_of_camt_the_details_are_kept() -> None:
    """Batches are split where their parts add up; a reversal is marked; pending entries will come again as booked."""
    invoice, first, second, returned = read("camt053-v02.xml").entries

    assert (invoice.booked_on, invoice.bank_reference, invoice.end_to_end_id) == (
        *(MONDAY, "2026010500017", "INVOICE-2026-17"),
    )
    assert (invoice.text, invoice.counterparty) == (
        "thank you for invoice 17",
        "Alice Example DE02120300000000202051",
    )
    assert [(each.batch, each.end_to_end_id) for each in (first, second)] == [
        ("BATCH-7", "PART-1"),
        ("BATCH-7", "PART-2"),
    ]
    assert (returned.is_reversal, returned.text) == (True, "returned direct debit")
    assert invoice.place == "line 17, BkToCstmrStmt/Stmt/Ntry[1]"


def test_of_camt_08_the_newer_elements_are_read() -> None:
    """A status within Cd, a party within Pty, a structured reference; and NOTPROVIDED is no reference."""
    credit, _ = read("camt053-v08.xml").entries

    assert (credit.reference, credit.end_to_end_id, credit.counterparty) == ("RF18539007547034", None, "Bob")


@pytest.mark.parametrize("version", range(2, 9))
def test_every_version_of_camt_053_is_taken(version: int) -> None:
    """Banks change when they like."""
    source = "camt053-v08.xml" if version == 8 else "camt053-v02.xml"
    data = (DATA / source).read_bytes().replace(f"001.{source[9:11]}".encode(), f"001.0{version}".encode())

    assert len(read_statement(data).entries) in (2, 4)


def test_of_mt940_references_and_reversals_are_kept() -> None:
    """RC takes money back, NONREF is no reference, and the bank's own stands behind two slashes."""
    invoice, returned, payout = read("statement.mt940").entries

    assert (invoice.reference, invoice.bank_reference, invoice.text) == ("INVOICE-2026-17", "B0017", "thank you")
    assert (returned.is_reversal, returned.is_credit) == (True, False)
    assert (payout.reference, payout.text, payout.place) == (None, "payout for alice", "line 10")


def test_mt940_is_never_taken_for_the_name_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library opens what is named like its text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ":20:").write_text("somebody's secret")

    with pytest.raises(FileError, match="no opening balance"):
        read_statement(b":20:")


@given(
    amounts=st.lists(st.integers(1, 10**12), min_size=1, max_size=5), currency=st.sampled_from(("JPY", "USD", "KWD"))
)
def test_amounts_are_exact_in_every_format(amounts: list[int], currency: str) -> None:
    """As many digits as there are: a float would have lost one of them."""
    said = [format_amount(minor, currency) for minor in amounts]
    total = format_amount(sum(amounts), currency)

    def comma(text: str) -> str:
        return text.replace(".", ",") if "." in text else f"{text},"

    csv = "date,amount\n" + "".join(f"2026-01-05,{each}\n" for each in said)
    mt940 = (
        f":20:X\n:25:A\n:28C:1\n:60F:C260104{currency}0,\n"
        + "".join(f":61:2601050105C{comma(each)}NTRFX\n" for each in said)
        + f":62F:C260105{currency}{comma(total)}\n"
    )
    camt = camt053(
        "".join(
            f'<Ntry><Amt Ccy="{currency}">{each}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts>'
            "<BookgDt><Dt>2026-01-05</Dt></BookgDt></Ntry>"
            for each in said
        ),
        currency,
        closing=total,
    )
    mapping = Mapping.model_validate({"columns": {"date": "date", "amount": "amount"}, "currency": currency})
    for data in (csv, mt940, camt):
        statement = read_statement(data.encode(), mapping=mapping)

        assert effects(statement) == amounts
        assert statement.closing_minor in (None, sum(amounts))


@pytest.mark.parametrize(
    ("text", "minor"), [("10", 1000), ("10.5", 1050), ("10.50000", 1050), ("0.01", 1), ("7.", 700)]
)
def test_zeros_at_the_end_change_nothing(text: str, minor: int) -> None:
    """Banks write as many as they like."""
    assert exact_minor(text, "USD") == minor


def camt053(entries: str, currency: str = "EUR", *, closing: str = "0", account: str = "A", prolog: str = "") -> str:
    """A file with these entries."""
    balances = "".join(
        f'<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy="{currency}">{amount}</Amt>'
        f"<CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>{day}</Dt></Dt></Bal>"
        for code, amount, day in (("PRCD", "0", "2026-01-04"), ("CLBD", closing, "2026-01-05"))
    )
    return (
        f'{prolog}<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.04"><BkToCstmrStmt><Stmt><Id>1</Id>'
        f"<Acct><Id><Othr><Id>{account}</Id></Othr></Id><Ccy>{currency}</Ccy></Acct>{balances}{entries}</Stmt>"
        "</BkToCstmrStmt></Document>"
    )


# What is rejected.


def changed(name: str, old: str, new: str, count: int = 1) -> bytes:
    """A good file in which something is wrong."""
    text = (DATA / name).read_text()
    assert old in text
    return text.replace(old, new, count).encode()


BILLION_LAUGHS: Final = (
    "<!DOCTYPE lolz ["
    + '<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]>"
)
FOREIGN: Final = '<!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
ENTRY: Final = (
    '<Ntry><Amt Ccy="EUR">1</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2026-01-05</Dt></BookgDt>'
    "<AddtlNtryInf>{}</AddtlNtryInf></Ntry>"
)

XML: Final[list[tuple[Callable[[], bytes], str]]] = [
    (lambda: (DATA / "camt053-v02.xml").read_bytes()[:-200], "line 47: not XML, or cut off"),
    (lambda: changed("camt053-v02.xml", "camt.053.001.02", "camt.053.001.12"), "not camt.053.001.02 to .08"),
    (lambda: changed("camt053-v02.xml", "camt.053.001.02", "camt.052.001.02"), "not camt.053.001.02 to .08"),
    (lambda: changed("camt053-v02.xml", '"EUR">100.5<', '"EUR">100.505<'), r"line 17, .*Ntry\[1\]: '100.505' is not"),
    (lambda: changed("camt053-v02.xml", '"EUR">100.5<', '"EUR">1,5<'), r"Ntry\[1\]: '1,5' is not an amount"),
    (lambda: changed("camt053-v02.xml", '"EUR">100.5<', '"USD">100.5<'), "in USD, and the account in EUR"),
    (lambda: changed("camt053-v02.xml", '"EUR">100.5<', '"XXQ">100.5<'), "unknown currency 'XXQ'"),
    (lambda: changed("camt053-v02.xml", "CLBD", "CLAV"), "it has no balance of type CLBD"),
    (lambda: changed("camt053-v02.xml", "PRCD", "ITAV"), "it has no balance of type OPBD or PRCD"),
    (lambda: changed("camt053-v02.xml", "<Sts>BOOK</Sts>", "<Sts>DONE</Sts>"), "Sts 'DONE' is none of BOOK"),
    (lambda: changed("camt053-v02.xml", "<Sts>BOOK</Sts>", ""), "Sts None"),
    (lambda: changed("camt053-v02.xml", ">DBIT<", ">OUT<"), "CdtDbtInd 'OUT' is neither"),
    (lambda: changed("camt053-v02.xml", ">true<", ">maybe<"), "RvslInd 'maybe'"),
    (
        lambda: changed("camt053-v02.xml", "<Dt>2026-01-05</Dt></BookgDt>", "<Dt>2026-02-30</Dt></BookgDt>"),
        "is not a day",
    ),
    (
        lambda: changed("camt053-v02.xml", 'encoding="UTF-8"', 'encoding="ASCII"').replace(b"Alice", "Älice".encode()),
        "not XML",
    ),
    (lambda: camt053("").replace("<Stmt>", "<X>").replace("</Stmt>", "</X>").encode(), "no BkToCstmrStmt/Stmt"),
    (lambda: camt053(ENTRY.format("&a9;"), prolog=BILLION_LAUGHS).encode(), "it has a DOCTYPE"),
    (lambda: camt053(ENTRY.format("&file;"), prolog=FOREIGN).encode(), "it has a DOCTYPE"),
    (lambda: camt053(ENTRY.format("&file;"), prolog=FOREIGN).encode("utf-16"), "it has a DOCTYPE"),
    (lambda: camt053(ENTRY.format("&a9;")).encode(), "not XML"),
    (lambda: two("EUR", "USD", "A", "A"), "it has statements in EUR and USD"),
    (lambda: two("EUR", "EUR", "A", "B"), r"statements of several accounts \(A, B\)"),
]

MT940: Final[list[tuple[Callable[[], bytes], str]]] = [
    (lambda: changed("statement.mt940", "C100,5N", "C100.50N"), "line 6: :61: .* amount with a comma"),
    (lambda: changed("statement.mt940", "C100,5N", "C100,505N"), "line 6: '100.505' is not an amount in EUR"),
    (lambda: changed("statement.mt940", "C100,5N", "C1.100,5N"), "line 6: :61:"),
    (lambda: changed("statement.mt940", "EUR1000,00", "EUR1000.00"), "line 5: :60F: .* amount with a comma"),
    (lambda: changed("statement.mt940", "EUR1064,99", "USD1064,99"), "it opens in EUR and closes in USD"),
    (lambda: changed("statement.mt940", ":62F:C260105EUR1064,99\n", ""), "no closing balance"),
    (lambda: changed("statement.mt940", ":60F:C260104EUR1000,00\n", ""), "no opening balance"),
    (lambda: changed("statement.mt940", ":61:260105", ":61:261305"), "line 2: "),
    (lambda: changed("statement.mt940", ":86:payout", ":87:payout"), "tag :87: is none of MT940"),
    (lambda: changed("statement.mt940", ":20:", ":99:"), "not MT940: no line begins with :20:"),
]


def two(first: str, second: str, one: str, other: str) -> bytes:
    """Two statements in a file."""
    start, middle, _ = camt053("", first, account=one).partition("</Stmt>")
    _, _, end = camt053("", second, account=other).partition("<BkToCstmrStmt>")
    return f"{start}{middle}{end}".encode()


@pytest.mark.parametrize(("make", "wrong"), [*XML, *MT940])
def test_a_file_that_is_wrong_is_rejected_with_a_place_and_a_reason(make: Callable[[], bytes], wrong: str) -> None:
    """What a lenient reader would pass over is money."""
    with pytest.raises(FileError, match=wrong):
        read_statement(make(), format="mt940" if (make, wrong) in MT940 else "camt053")


def lines(*rows: str, **changes: Any) -> Statement:
    """A CSV of these lines, read as a mapping with these changes says."""
    columns = changes.pop("columns", {"date": "date", "amount": "amount"})
    mapping = Mapping.model_validate({"columns": columns, "currency": "EUR", **changes})
    header = ",".join(dict.fromkeys(each for each in columns.values() if isinstance(each, str)))
    return read_statement("\n".join([header, *rows, ""]).encode(), format="csv", mapping=mapping)


@pytest.mark.parametrize(
    ("rows", "changes", "wrong"),
    [
        (["2026-01-05,1.005"], {}, "line 2: '1.005' is not an amount in EUR: decimal is '.'"),
        (['2026-01-05,"1,50"'], {}, "line 2: '1,50' is not an amount in EUR: decimal is '.'"),
        (["2026-01-05,1.50"], {"decimal": ","}, "line 2: '1.50' is not an amount with a decimal comma"),
        (['2026-01-05,"1,50"'], {"thousands": ","}, "line 2: '1,50' is not an amount: ',' does not stand between"),
        (['2026-01-05,"1,0000"'], {"thousands": ","}, "does not stand between thousands"),
        (["2026-01-05,x"], {}, "line 2: 'x' is not an amount in EUR"),
        (["2026-01-05,1e3"], {}, "line 2: '1e3' is not"),
        (["2026-01-05,"], {}, "line 2: '' is not"),
        (["2026-01-05,90071992547409.92"], {}, "line 2: "),
        (["05.01.2026,1"], {}, "line 2: date '05.01.2026' is not of the form %Y-%m-%d"),
        (["2026-01-05"], {}, "line 2: it has 1 fields, and the header has 2"),
        (['2026-01-05,"1'], {}, "line 2: not CSV"),
        ([], {}, "the file holds no entries"),
        (
            ["2026-01-05,1,X"],
            {"sign": "direction", "columns": {"date": "d", "amount": "a", "direction": "w"}},
            "direction 'X'",
        ),
        (
            ["2026-01-05,-1,C"],
            {"sign": "direction", "columns": {"date": "d", "amount": "a", "direction": "w"}},
            "below zero",
        ),
        (
            ["2026-01-05,1,1"],
            {"sign": "columns", "columns": {"date": "d", "credit": "c", "debit": "b"}},
            "one must be filled",
        ),
        (
            ["2026-01-05,,"],
            {"sign": "columns", "columns": {"date": "d", "credit": "c", "debit": "b"}},
            "one must be filled",
        ),
        (
            ["2026-01-05,1,USD"],
            {"columns": {"date": "d", "amount": "a", "currency": "c"}},
            "it is in USD, and the file in EUR",
        ),
        (["2026-01-05,1,??"], {"columns": {"date": "d", "amount": "a", "currency": "c"}}, r"unknown currency '\?\?'"),
    ],
)
def test_a_line_of_csv_that_is_wrong_is_named(rows: list[str], changes: dict[str, Any], wrong: str) -> None:
    """With its number in the file, as an editor shows it."""
    with pytest.raises(FileError, match=wrong):
        lines(*rows, **changes)


@pytest.mark.parametrize(
    ("rows", "changes", "moved"),
    [
        (['2026-01-05,"1,234,567.89"'], {"thousands": ","}, [123_456_789]),
        (["2026-01-05,1 234.5"], {"thousands": " "}, [123_450]),
        (["2026-01-05,+1", "2026-01-05,-1"], {}, [100, -100]),
        (["2026-01-05,1", "2026-01-05,-1"], {"sign": "reversed"}, [-100, 100]),
        (
            ["2026-01-05,1,", "2026-01-05,,2", "2026-01-05,,-3"],
            {"sign": "columns", "columns": {"date": "d", "credit": "c", "debit": "b"}},
            [100, -200, -300],
        ),
        (
            ["2026-01-05,1,CR", "2026-01-05,2,D"],
            {"sign": "direction", "columns": {"date": "d", "amount": "a", "direction": "w"}},
            [100, -200],
        ),
        (["2026-01-05,1", "total,1"], {"skip_last_lines": 1}, [100]),
        (["2026-01-05,0.00", "2026-01-05,1"], {}, [100]),
    ],
)
def test_a_csv_is_read_as_its_mapping_says(rows: list[str], changes: dict[str, Any], moved: list[int]) -> None:
    """No two banks write the same."""
    assert effects(lines(*rows, **changes)) == moved


def test_balances_are_read_in_the_order_of_the_file() -> None:
    """Many banks write the newest line first."""
    columns = {"date": "d", "amount": "a", "balance": "b"}
    statement = lines("2026-01-06,-2,9", "2026-01-05,1,11", columns=columns, order="newest_first")

    assert (statement.opening_minor, statement.closing_minor) == (1_000, 900)


def test_all_that_is_wrong_is_said_at_once_up_to_a_screenful() -> None:
    """A file is mended in one go, and one of something else does not flood the terminal."""
    with pytest.raises(FileError) as refusal:
        lines(*["2026-01-05,x"] * 15)

    assert str(refusal.value).splitlines()[-1] == "and 5 more"
    assert len(str(refusal.value).splitlines()) == 11


def test_a_file_in_another_encoding_is_rejected_where_it_begins_to_be() -> None:
    """Names that are garbled match nobody."""
    data = (DATA / "bank.csv").read_text().replace("Alice", "Älice").encode("cp1252")

    with pytest.raises(FileError, match="line 3: not utf-8 text: set encoding in the mapping"):
        read_statement(data, mapping=read_mapping(DATA / "bank.toml"))


def test_what_is_too_large_or_empty_is_rejected(tmp_path: Path) -> None:
    """Before it fills the memory."""
    file = tmp_path / "file.csv"
    file.write_text(" \n")
    with pytest.raises(FileError, match="the file is empty"):
        read_bytes(file)
    file.write_text("x" * 11)
    with pytest.raises(FileError, match="more than 10 bytes"):
        read_bytes(file, max_bytes=10)
    for name, mapping in (("bank.csv", "bank.toml"), ("camt053-v02.xml", None), ("statement.mt940", None)):
        with pytest.raises(FileError, match="lines, and 1 are the most"):
            read(name, mapping, max_lines=1)


def test_the_currency_that_was_asked_for_is_that_of_the_file() -> None:
    """It is said on the command line so that the wrong file is noticed."""
    with pytest.raises(FileError, match="it is in EUR, and --currency says USD"):
        read("camt053-v02.xml", currency="USD")


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b"\xef\xbb\xbf<?xml", "camt053"),
        ("<Document>".encode("utf-16"), "camt053"),
        (b"{1:F01BANK}", "mt940"),
        (b"ABNA\n940\n:20:X", "mt940"),
        (b"date,amount\n", "csv"),
    ],
)
def test_the_format_is_seen_in_the_file(data: bytes, format: str) -> None:
    """Whatever it is called."""
    assert guess_format(data) == format


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"columns": {"amount": "a"}}, "columns.date: Field required"),
        ({"columns": {"date": "d"}}, 'sign = "signed" needs columns.amount'),
        ({"columns": {"date": "d", "amount": "a", "credit": "c"}}, "has no use for columns.credit"),
        ({"sign": "columns"}, 'sign = "columns" has no use for columns.amount'),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands must be two characters"),
        ({"encoding": "klingon"}, "no encoding 'klingon'"),
        ({"currency": "usd"}, "unknown currency 'usd'"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_mapping_that_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], wrong: str) -> None:
    """Before a line is read by it."""
    file = tmp_path / "mapping.json"
    file.write_bytes(orjson.dumps({"columns": {"date": "d", "amount": "a"}, **changes}))

    with pytest.raises(FileError) as refusal:
        read_mapping(file)
    assert wrong in str(refusal.value)


@pytest.mark.parametrize(("name", "text"), [("m.toml", "columns = "), ("m.json", "{"), ("m.toml", "\x00")])
def test_a_mapping_that_cannot_be_read_is_a_sentence(tmp_path: Path, name: str, text: str) -> None:
    """No traceback of a parser."""
    (tmp_path / name).write_text(text)

    with pytest.raises(FileError, match=f"{name} is not {'JSON' if name.endswith('json') else 'TOML'}: "):
        read_mapping(tmp_path / name)
