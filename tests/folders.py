"""Data directories for tests, which leave nothing behind."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.servers import LocalServers


@contextmanager
def throwaway_folder() -> Iterator[Path]:
    """A temporary data directory, removed with whatever Postgres had to keep outside of it."""
    folder = Path(tempfile.mkdtemp(prefix="florin-test-"))
    folder.chmod(0o711)  # Under root, Postgres runs as another user and has to pass.
    try:
        yield folder
    finally:
        LocalServers(folder).postgres.remove_outside()
        shutil.rmtree(folder)
