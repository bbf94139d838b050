"""The folder of migrations: a slip in a file's name is found before any database is touched."""

import hashlib
from pathlib import Path

import pytest

from migrations import MigrationError, latest_version
from migrations.runner import FOLDER, read_migrations


def folder_with(path: Path, *names: str) -> Path:
    """A folder of migrations that do nothing."""
    for name in names:
        (path / name).write_text("SELECT 1;")
    return path


def test_migrations_come_in_order_of_their_numbers(tmp_path: Path) -> None:
    """Whatever order the file system gives, and whatever else lies in the folder."""
    folder_with(tmp_path, "0002_second.sql", "0010_tenth.txt", "README.md", "0001_first.sql")
    found = read_migrations(tmp_path)

    assert [(each.version, each.name) for each in found] == [(1, "first"), (2, "second")]
    assert found[0].sha256 == hashlib.sha256(b"SELECT 1;").hexdigest()


@pytest.mark.parametrize("name", ["1_first.sql", "0001-first.sql", "0001_First.sql", "0001.sql", "00001_first.sql"])
def test_a_file_with_another_name_is_an_error(name: str, tmp_path: Path) -> None:
    """It would otherwise be left out without a word."""
    with pytest.raises(MigrationError, match=r"named NNNN_what_it_does\.sql"):
        read_migrations(folder_with(tmp_path, name))


@pytest.mark.parametrize(
    "names",
    [
        ("0001_first.sql", "0001_other.sql"),
        ("0001_first.sql", "0003_third.sql"),
        ("0002_second.sql",),
        ("0000_zero.sql", "0001_first.sql"),
    ],
)
def test_numbers_have_no_gap_and_no_double(names: tuple[str, ...], tmp_path: Path) -> None:
    """Two branches that each add the next number are found when they are merged."""
    with pytest.raises(MigrationError, match="without a gap or a double"):
        read_migrations(folder_with(tmp_path, *names))


def test_the_schema_of_this_code_is_its_last_migration() -> None:
    """What the readiness check compares the database with."""
    assert latest_version() == len(list(FOLDER.glob("*.sql"))) > 0


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sql")), ids=lambda path: path.stem)
def test_every_migration_says_why_and_waits_for_no_lock_for_long(path: Path) -> None:
    """Whoever is on call reads the header; everybody else's statements queue behind a lock that is waited for."""
    text = path.read_text()
    header = [line.split(":")[0] for line in text.splitlines()[:3]]

    assert header == ["-- Why", "-- Locks", "-- Undo"]
    assert "SET LOCAL lock_timeout = '5s';" in text
