"""All dashboards, and the files that Grafana reads them from."""

from pathlib import Path
from typing import Final

from ops.dashboards.advances import advances
from ops.dashboards.board import Board
from ops.dashboards.ledger import ledger
from ops.dashboards.overview import overview
from ops.dashboards.queue import queue
from ops.dashboards.reconciliation import reconciliation
from ops.dashboards.runbooks import runbooks
from ops.dashboards.servers import servers

FOLDER: Final = Path(__file__).resolve().parents[1] / "grafana" / "dashboards"


def all_boards() -> list[Board]:
    """In the order in which somebody who is new reads them."""
    return [overview(), queue(), ledger(), advances(), reconciliation(), servers(), runbooks()]


def files() -> dict[Path, str]:
    """Each file and what is in it."""
    return {FOLDER / f"{board.name}.json": board.to_json() for board in all_boards()}
