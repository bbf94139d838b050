"""The runbooks, one panel for each section of docs/runbooks.md: whoever is woken has them one click from the graph."""

import re
from functools import cache
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard as builders

from ops.dashboards.board import Board, Section, board, uid
from ops.dashboards.panels import Panel, words

NAME: Final = "runbooks"
DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "runbooks.md"

_WIDTH: Final = 12
_LETTERS_IN_A_LINE: Final = 95
_FROM: Final = "From docs/runbooks.md, where it is changed; `python -m ops.dashboards` brings it here."


def runbooks() -> Board:
    """Text only: it can be read while Prometheus is away."""
    return board(
        NAME,
        "Runbooks",
        "What to look at and which command to run, for each alert. A copy of docs/runbooks.md.",
        Section("Runbooks", [_panel(title, markdown) for title, markdown in sections()]),
        has_data=False,
    )


def runbook(anchor: str) -> builders.DashboardLink:
    """A link from a panel to the section of that name. Raises ``ValueError`` if there is none."""
    return builders.DashboardLink(f"Runbook: {anchor}").url(_address(anchor))


@cache
def sections() -> tuple[tuple[str, str], ...]:
    """Title and text of each section, what stands before the first one included."""
    opening, *rest = re.split(r"^## (.+)$", DOCUMENT.read_text(), flags=re.MULTILINE)
    _, _, opening = opening.partition("\n")
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return (("All of them", opening), *pairs)


def _panel(title: str, text: str) -> Panel:
    markdown = _readable(text)
    lines = sum(1 + len(line) // _LETTERS_IN_A_LINE for line in markdown.splitlines())
    return words(title, markdown, size=(_WIDTH, max(5, 3 + round(0.65 * lines))), description=_FROM)


def _readable(markdown: str) -> str:
    """Links to other sections lead to their panels. Of those to other files, which are not here, the text stays."""
    within = re.sub(r"\]\(#([^)]+)\)", lambda link: f"]({_address(link[1])})", markdown)
    return re.sub(r"\[([^]]+)\]\((?!https?://|/d/)[^)]+\)", r"\1", within).strip() + "\n"


def _address(anchor: str) -> str:
    anchors = [_anchor(title) for title, _ in sections()]
    # The first panel is the heading of the section, so the n-th text is panel n + 2.
    return f"/d/{uid(NAME)}?viewPanel=panel-{anchors.index(anchor) + 2}"


def _anchor(title: str) -> str:
    """What a heading is called in an address."""
    return re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")
