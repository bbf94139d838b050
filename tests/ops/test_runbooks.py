"""What the person on call is told to read and to run is there."""

import re
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest
import typer

from cli.main import app
from tests.conftest import Database
from tests.ops.rules import ROOT, alerts

RUNBOOKS: Final = (ROOT / "docs" / "runbooks.md").read_text()


def commands() -> Iterator[str]:
    """Every command line of Florin in the runbooks and in the alerts, up to what a person fills in."""
    texts = [RUNBOOKS, *(alert.annotations["action"] for alert in alerts())]
    for text in texts:
        yield from re.findall(r"\./florin ([a-z][^`\n;#\"]*)", text)


def test_every_alert_has_its_section() -> None:
    """The link in a page at night leads to what to do, not to the top of a long text."""
    anchors = {
        re.sub(r"[^\w -]", "", line.removeprefix("## ")).strip().lower().replace(" ", "-")
        for line in RUNBOOKS.splitlines()
        if line.startswith("## ")
    }
    wanted = {alert.annotations["runbook_url"].split("#")[1] for alert in alerts()}

    assert wanted <= anchors


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_of_the_runbooks_exists(line: str) -> None:
    """Nobody has to guess at night what a command is called now."""
    found: Any = typer.main.get_command(app)
    context = None
    for word in line.split():
        if word.startswith("--"):
            options = {option for parameter in found.params for option in parameter.opts}
            assert word.rstrip("),.:") in options, line
        elif hasattr(found, "get_command"):
            child = found.get_command(context, word.strip("(),.:"))
            assert child is not None, line
            found = child


def test_every_statement_of_the_runbooks_can_be_run(database: Database) -> None:
    """Columns are renamed too."""
    statements = re.findall(r"`(SELECT [^`]*)`", RUNBOOKS)
    assert statements
    with psycopg.connect(database.owner_url) as conn:
        for statement in statements:
            assert conn.execute("EXPLAIN " + re.sub(r"\bPID\b", "1", statement)).fetchall()
