"""`florin replay` without an API: what cannot work ends at once, with a sentence that says what to do."""

from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from cli.main import app
from processor import keys

SMALL: Final = Path(__file__).parents[1] / "data" / "transactions-small.csv"
NO_API: Final = {"FLORIN_API": "", "FLORIN_API_KEY": ""}
REFUSING: Final = {"FLORIN_API": "http://127.0.0.1:1", "FLORIN_API_KEY": keys.generate()}


@pytest.mark.parametrize(
    ("options", "environment", "exit_code", "words"),
    [
        (["--currency", "XYZ"], NO_API, 2, "--currency: unknown currency 'XYZ'"),
        (["--overdraft-limit", "1e4"], NO_API, 2, "--overdraft-limit: not an amount"),
        (["--data-dir", "nowhere"], NO_API, 1, "no stack is running for nowhere; start one with ./florin up"),
        (["--data-dir", "nowhere"], REFUSING, 2, "--data-dir and FLORIN_API name two stacks: leave one out"),
        ([], REFUSING | {"FLORIN_API_KEY": ""}, 2, "of FLORIN_API and FLORIN_API_KEY one is set: set both"),
        ([], REFUSING | {"FLORIN_API": ""}, 2, "of FLORIN_API and FLORIN_API_KEY one is set: set both"),
        ([], REFUSING | {"FLORIN_API_KEY": "x"}, 1, "the API key is not one: its form is florin_<prefix>_<secret>"),
        ([], REFUSING | {"FLORIN_API": "127.0.0.1:1"}, 1, "'127.0.0.1:1' is no address of an API"),
        (["--patience", "0.2"], REFUSING, 1, "did not do it within 0.2 s: it cannot be reached"),
    ],
)
def test_what_cannot_work_ends_with_a_sentence(
    options: list[str], environment: dict[str, str], exit_code: int, words: str
) -> None:
    """The person reads what to do, not a traceback; and standard output stays empty for the program behind it."""
    result = CliRunner().invoke(app, ["replay", str(SMALL), "--currency", "CZK", *options], env=environment)

    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert words in result.stderr


def test_a_wrong_file_is_refused_before_the_api_is_looked_for(tmp_path: Path) -> None:
    """Nothing is sent of a file that is not right to its end."""
    file = tmp_path / "transactions.csv"
    file.write_text("id,account,date,type,amount\n1,a,1993-01-01,deposit,1.00\n2,a,1993-01-01,lend,1.00\n")

    result = CliRunner().invoke(app, ["replay", str(file), "--currency", "CZK"], env=REFUSING)

    assert (result.exit_code, result.stderr) == (
        1,
        f"florin: {file}:3: type 'lend': give deposit or withdraw\nNothing was sent.\n",
    )
