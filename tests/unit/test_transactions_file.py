"""A file is replayed whole or not at all: everything that is wrong with it is said before anything is sent."""

from pathlib import Path
from typing import Final

import pytest

from cli.replaying.transactions import FileError, Transaction, read_transactions

HEADER: Final = "id,account,date,type,amount"
SMALL: Final = Path(__file__).parents[1] / "data" / "transactions-small.csv"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of the test's own, not written yet."""
    return tmp_path / "transactions.csv"


def test_the_lines_become_transactions_in_the_order_of_the_file(file: Path) -> None:
    """Amounts are whole minor units from here on, and what a person needs for a statement goes along."""
    file.write_text(
        f"{HEADER},operation,branch\n7,1001,1993-01-01,deposit,10.50,VKLAD,x\n3,1001,1993-01-02,withdraw,4,,y\n"
    )

    assert read_transactions(file, "CZK") == [
        Transaction(2, "7", "1001", "deposit", 1050, "1993-01-01 VKLAD"),
        Transaction(3, "3", "1001", "withdraw", 400, "1993-01-02"),
    ]


def test_amounts_are_read_in_the_exponent_of_the_currency(file: Path) -> None:
    """1050 is ten times a hundred yen and fifty, and no fraction of a fils is lost."""
    file.write_text(f"{HEADER}\n1,a,1993-01-01,deposit,1050\n")
    assert read_transactions(file, "JPY")[0].amount_minor == 1050

    file.write_text(f"{HEADER}\n1,a,1993-01-01,deposit,1.050\n")
    assert read_transactions(file, "KWD")[0].amount_minor == 1050


def test_columns_come_in_any_order_and_a_spreadsheet_s_mark_is_no_part_of_a_name(file: Path) -> None:
    """Spreadsheets write a byte order mark before the first column, which nobody sees."""
    file.write_bytes("\ufeffamount,type,date,account,id\r\n1.00,deposit,1993-01-01,a,1\r\n".encode())

    assert [each.amount_minor for each in read_transactions(file, "CZK")] == [100]


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(file: Path, column: str) -> None:
    """The person sees which, and what the first line has to be."""
    file.write_text(",".join(name for name in HEADER.split(",") if name != column) + "\n1,2,3,4\n")

    with pytest.raises(FileError, match=rf"transactions\.csv:1: the column {column} is missing") as refusal:
        read_transactions(file, "CZK")

    assert str(refusal.value).endswith("Nothing was sent.")


def test_a_column_that_is_there_twice_is_refused(file: Path) -> None:
    """Which of two amounts is meant, nobody knows."""
    file.write_text(f"{HEADER},amount\n1,a,1993-01-01,deposit,1.00,2.00\n")

    with pytest.raises(FileError, match=":1: the column amount is there more than once"):
        read_transactions(file, "CZK")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("1,a,1993-01-01,transfer,1.00", "type 'transfer'"),
        ("1,a,1993-01-01,,1.00", "type ''"),
        ("1,a,1993-01-01,deposit,1.005", "CZK has at most 2 decimals"),
        ("1,a,1993-01-01,deposit,-1.00", "amount '-1.00'"),
        ("1,a,1993-01-01,deposit,0.00", "above zero"),
        ("1,a,1993-01-01,deposit,1e3", "amount '1e3'"),
        ("1,a,1993-01-01,deposit,NaN", "amount 'NaN'"),
        ("1,a,1993-01-01,deposit,", "amount ''"),
        ('1,a,1993-01-01,deposit,"1,000.00"', "amount '1,000.00'"),
        ("1,a,1993-01-01,deposit,90071992547409.92", "above the largest"),
        (",a,1993-01-01,deposit,1.00", "id ''"),
        ("open:a,a,1993-01-01,deposit,1.00", "id 'open:a'"),
        ("1,,1993-01-01,deposit,1.00", "account ''"),
        ("1,@settlement:CZK,1993-01-01,deposit,1.00", "account '@settlement:CZK'"),
        ("1,a,1993-01-01,deposit", "not as many fields"),
        ("1,a,1993-01-01,deposit,1.00,more", "not as many fields"),
        (f"1,a,{'x' * 256},deposit,1.00", "date and operation"),
        ('1,a,1993-01-01,deposit,"1.00', "not CSV"),
    ],
)
def test_a_line_that_is_wrong_is_named_with_what_is_wrong(file: Path, line: str, wrong: str) -> None:
    """The first line of data is line 2 in every editor."""
    file.write_text(f"{HEADER}\n{line}\n")

    with pytest.raises(FileError, match=r"transactions\.csv:2: ") as refusal:
        read_transactions(file, "CZK")

    assert wrong in str(refusal.value)


def test_an_id_that_is_there_twice_is_refused_with_both_lines(file: Path) -> None:
    """Under one key the second would be taken for a replay of the first, and be left out."""
    file.write_text(
        f"{HEADER}\n1,a,1993-01-01,deposit,1.00\n2,a,1993-01-01,deposit,1.00\n1,a,1993-01-02,deposit,9.00\n"
    )

    with pytest.raises(FileError, match=":4: the id 1 stands on line 2 already"):
        read_transactions(file, "CZK")


def test_all_that_is_wrong_is_said_at_once_up_to_a_screenful(file: Path) -> None:
    """A file is mended in one go, and a file of something else does not flood the terminal."""
    file.write_text(f"{HEADER}\n" + "".join(f"{n},a,1993-01-01,deposit,x\n" for n in range(15)))

    with pytest.raises(FileError) as refusal:
        read_transactions(file, "CZK")

    lines = str(refusal.value).splitlines()
    assert [":2:" in lines[0], ":11:" in lines[9], lines[10]] == [True, True, "and 5 more"]


@pytest.mark.parametrize("text", ["", "\n", f"{HEADER}\n"], ids=["nothing", "an empty line", "a header only"])
def test_a_file_without_transactions_is_refused(file: Path, text: str) -> None:
    """'0 sent, everything adds up' would hide that it was the wrong file."""
    file.write_text(text)

    with pytest.raises(FileError):
        read_transactions(file, "CZK")


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, file: Path) -> None:
    """Not there, a folder, no text: each is a sentence, not a traceback."""
    file.write_bytes(HEADER.encode() + b"\n\xff\xfe,a\n")

    for path, wrong in ((tmp_path / "no.csv", "No such file"), (tmp_path, "Is a directory"), (file, "not UTF-8")):
        with pytest.raises(FileError, match=wrong) as refusal:
            read_transactions(path, "CZK")
        assert str(path) in str(refusal.value)


def test_the_cut_for_the_tests_has_accounts_below_zero() -> None:
    """It is real data: 20 whole accounts, some of which the bank let go deep into the red."""
    balances: dict[str, int] = {}
    lowest: dict[str, int] = {}
    for transaction in read_transactions(SMALL, "CZK"):
        name = transaction.account
        balances[name] = balances.get(name, 0) + transaction.effect_minor
        lowest[name] = min(lowest.get(name, 0), balances[name])

    assert len(balances) == 20
    assert sorted(minor for minor in lowest.values() if minor < 0)[0] == -1_905_680
    assert sum(minor < 0 for minor in lowest.values()) == 6
