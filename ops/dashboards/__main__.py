"""Writes the dashboards to ops/grafana/dashboards, and takes away what is no dashboard any more."""

import sys

from ops.dashboards.catalogue import FOLDER, files


def main() -> None:
    """Say which files have changed."""
    wanted = files()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in set(FOLDER.glob("*.json")) - set(wanted):
        old.unlink()
        print(f"removed {old.name}", file=sys.stderr)
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.name}", file=sys.stderr)


main()
