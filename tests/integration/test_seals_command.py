"""`florin verify` and `florin prove-inclusion`, and the script with which an outsider checks a proof."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.servers import LocalServers
from processor import clock
from processor.sealing import Sealer, seal_next
from processor.submissions import CommandBody
from tests.builders import deposit, opening, withdraw
from tests.conftest import TEMPLATE, Database
from tests.engine import Engine, running_engine
from tests.folders import throwaway_folder
from tests.stack import new_database

SCRIPT: Final = Path(__file__).resolve().parents[2] / "tools" / "verify_inclusion.py"


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of the tests names is not what these commands may use."""
    for name in ("DATABASE_URL", "REDIS_URL", "FLORIN_API", "FLORIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the blocks are published."""
    with throwaway_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def books(servers: LocalServers, _application_password: str, folder: Path) -> Iterator[Engine]:
    """Seven commands in blocks of three and a file of them; one more that is not sealed, and one that is pending."""
    with (
        new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url),
        running_engine(Database(owner_url, app_url)) as engine,
    ):
        engine.settle(opening("alice"), *[deposit("alice", 5)] * 5)
        engine.settle(CommandBody(type="withdraw", account="alice", amount_minor=2, currency="USD", reference='né"'))
        file = folder / "blocks.ndjson"
        Sealer(engine.pool, now=clock.now, choose=lambda _: 0, block_size=3, file=file).seal()
        engine.settle(deposit("alice", 1))
        engine.accept(withdraw("alice", 1))
        yield engine


def florin(books: Engine, *arguments: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, list(map(str, arguments)), env={"DATABASE_URL": books.database.app_url})


def id_of(books: Engine, position: int) -> str:
    """The command's id, as its receipt has it."""
    ((id_,),) = books.rows("SELECT id::text FROM command WHERE position = %s", [position])
    return str(id_)


def proof_of(books: Engine, position: int, *options: object) -> dict[str, Any]:
    """A proof, as it is written."""
    result = florin(books, "prove-inclusion", id_of(books, position), *options)
    assert result.exit_code == 0, result.output
    proof: dict[str, Any] = json.loads(result.stdout)
    return proof


def checked(folder: Path, proof: object, *, roots: Path | None = None) -> tuple[int, str]:
    """What the script says of the proof to somebody who has nothing but the script."""
    file = folder / "proof.json"
    file.write_text(proof if isinstance(proof, str) else json.dumps(proof))
    options = ["--roots", str(roots)] if roots else []
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, file, *options], capture_output=True, text=True, cwd=folder, env={}
    )
    return done.returncode, done.stdout + done.stderr


# florin verify.


def test_a_history_as_it_was_sealed_is_verified(books: Engine, folder: Path) -> None:
    """It says how far, what is not sealed yet, and what it was compared with."""
    alone = florin(books, "verify")
    compared = florin(books, "verify", "--against", folder / "blocks.ndjson")

    assert (alone.exit_code, compared.exit_code) == (0, 0)
    assert "Blocks 1 to 3: 7 settled commands recomputed." in alone.stdout
    assert "Not sealed yet: 1 outcomes." in alone.stdout
    assert "Compared with no published block: give --against" in alone.stdout
    assert "Compared with 3 published blocks" in compared.stdout
    assert "Everything is as it was sealed." in compared.stdout


def test_a_difference_is_named_and_ends_with_1(books: Engine, folder: Path) -> None:
    """A script can ask, a person can read, and a program gets the same as JSON."""
    books.rows("UPDATE transfer SET amount_minor = 6 WHERE position = 5")
    result = florin(books, "verify", "--against", folder / "blocks.ndjson")
    as_json = florin(books, "verify", "--json", "--from", 2)
    books.rows("UPDATE transfer SET amount_minor = 5 WHERE position = 5")

    assert result.exit_code == as_json.exit_code == 1
    assert (
        f"DIFFERS: block 2, position 5, command {id_of(books, 5)}: "
        "the command, its outcome or its transfers are not as they were sealed\n1 differences.\n"
    ) in result.stdout
    document = json.loads(as_json.stdout)
    assert (document["from"], document["leaves"], document["unsealed"], document["differences"]) == (2, 4, 1, 1)
    assert [(each["block"], each["position"]) for each in document["listed"]] == [(2, 5)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "9"], "--from 9: the newest block is 3"),
        (["--against", "/nowhere/blocks"], "/nowhere/blocks cannot be read: No such file or directory"),
    ],
)
def test_a_verification_that_cannot_be_made_says_why(books: Engine, options: list[str], words: str) -> None:
    """With an exit code of its own: that is no difference."""
    result = florin(books, "verify", *options)

    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"florin: {words}")


@pytest.mark.parametrize(
    ("text", "exit_code", "words"), [("nonsense\n", 1, "line 1: not a block"), ("", 2, "has no block in it")]
)
def test_a_file_that_is_no_evidence_is_refused(
    books: Engine, data_dir: Path, text: str, exit_code: int, words: str
) -> None:
    """Silence would pass for agreement."""
    file = data_dir / "blocks.ndjson"
    file.write_text(text)
    result = florin(books, "verify", "--against", file)

    assert (result.exit_code, words in result.stderr) == (exit_code, True)


def test_an_empty_database_has_nothing_sealed(database: Database) -> None:
    """Which is no difference, unless somebody has kept blocks of it."""
    result = CliRunner().invoke(app, ["verify"], env={"DATABASE_URL": database.app_url})

    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        *(0,),
        "Nothing is sealed yet: the scheduler's job `seal` does it.",
    )


# florin prove-inclusion, and the script.


@pytest.mark.parametrize("position", [1, 3, 5, 7])
def test_a_proof_is_accepted_by_the_script_alone(books: Engine, folder: Path, position: int) -> None:
    """An outsider needs the proof, the published blocks, and Python: neither Florin nor the database."""
    proof = proof_of(books, position)
    exit_code, words = checked(folder, proof, roots=folder / "blocks.ndjson")

    assert (exit_code, words.splitlines()[-1]) == (0, "PROVEN: block 3 was published")
    assert id_of(books, position) in words
    assert len(proof["headers"]) == 4 - (position + 2) // 3


def test_a_proof_may_end_with_an_earlier_block(books: Engine, folder: Path) -> None:
    """The chain to the newest block grows for ever; one that was published is enough."""
    proof = proof_of(books, 2, "--to", 1)

    assert len(proof["headers"]) == 1
    assert checked(folder, proof, roots=folder / "blocks.ndjson")[1].endswith("PROVEN: block 1 was published\n")


def test_without_published_blocks_the_script_says_what_to_compare(books: Engine, folder: Path) -> None:
    """Anybody can make a chain of his own: a proof is worth as much as what it is compared with."""
    exit_code, words = checked(folder, proof_of(books, 2, "--to", 2))
    ((hash_,),) = books.rows("SELECT encode(hash, 'hex') FROM seal WHERE number = 2")

    assert exit_code == 0
    assert f"IF block 2 was published as {hash_}" in words
    assert "PROVEN" not in words


def test_a_proof_is_written_to_a_file(books: Engine, data_dir: Path) -> None:
    """To be sent to somebody."""
    file = data_dir / "proof.json"
    result = florin(books, "prove-inclusion", id_of(books, 7), "--out", file)
    proof = json.loads(file.read_text())

    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(proof["record"])["command"]["reference"] == 'né"'


def forged(proof: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What somebody might hand in instead, and why it proves nothing."""
    head, *others = proof["headers"]
    in_path = "the record is not in the block"
    yield in_path, {**proof, "record": proof["record"].replace('"amount_minor":5', '"amount_minor":6')}
    yield in_path, {**proof, "index": 1 - proof["index"]}
    yield "its index is 9", {**proof, "index": 9}
    yield in_path, {**proof, "path": ["00" * 32, *proof["path"][1:]]}
    yield "its path is too short", {**proof, "path": proof["path"][1:]}
    yield "its path is too long", {**proof, "path": [*proof["path"], "00" * 32]}
    yield "block 2 does not follow block 1", {**proof, "headers": [{**head, "sealed_at_us": 0}, *others]}
    yield "block 3 does not follow block 1", {**proof, "headers": [head, *others[1:]]}
    yield "leaves are missing before block 2", {**proof, "headers": [head, {**others[0], "first_leaf": 99}]}
    yield "block 3 was published with another hash", {**proof, "headers": [head, others[0], {**others[1], "leaves": 9}]}
    yield "a header is not of version 1", {**proof, "headers": [head, {**others[0], "version": 2}, others[1]]}
    yield "a header is not of version 1", {**proof, "headers": [{**head, "note": "more"}, *others]}
    yield "the proof is not whole", {**proof, "headers": []}
    yield "the proof is not whole", {key: value for key, value in proof.items() if key != "path"}
    yield "its format is not", {**proof, "format": "another"}
    yield "cannot be read", "nonsense"
    yield "cannot be read", [proof]


def test_a_forged_proof_is_rejected(books: Engine, folder: Path) -> None:
    """Each way to cheat has its own words; none ends in a traceback, or in a yes."""
    results = [
        (words, *checked(folder, each, roots=folder / "blocks.ndjson")) for words, each in forged(proof_of(books, 2))
    ]

    assert [(words, said) for words, exit_code, said in results if words not in said or exit_code == 0] == []
    assert not any("Traceback" in said or "\nPROVEN" in said for _, _, said in results)


def test_a_proof_from_another_chain_is_rejected(books: Engine, folder: Path, data_dir: Path) -> None:
    """Consistent in itself, as any forger can make it, and not what was published."""
    other = data_dir / "other.ndjson"
    lines = (folder / "blocks.ndjson").read_text().splitlines(keepends=True)
    other.write_text("".join(line.replace('"hash":"', '"hash":"00') for line in lines))
    none = data_dir / "none.ndjson"
    none.write_text("")
    proof = proof_of(books, 2)

    assert checked(folder, proof, roots=other) == (1, "NOT PROVEN: block 1 was published with another hash\n")
    assert checked(folder, proof, roots=none) == (
        *(1,),
        "NOT PROVEN: none of its blocks, 1 to 3, was published in this file\n",
    )


@pytest.mark.parametrize(
    ("position", "exit_code", "words"),
    [
        (9, 3, "is pending: there is nothing to prove before its outcome"),
        (8, 3, "is not sealed yet: the next run of the job `seal` does it"),
        (None, 1, "there is no command"),
        ("17", 2, "is no command's id: give the `id` of the receipt"),
    ],
)
def test_what_cannot_be_proven_yet_is_told_apart(
    books: Engine, position: int | str | None, exit_code: int, words: str
) -> None:
    """3 says: ask again later. The others will never be proven."""
    given = id_of(books, position) if isinstance(position, int) else position or uuid4()
    result = florin(books, "prove-inclusion", given)

    assert (result.exit_code, words in result.stderr, result.stdout) == (exit_code, True, "")


def test_a_command_that_was_changed_is_not_proven(books: Engine) -> None:
    """A proof that no script accepts helps nobody: whoever asks is told to look further."""
    books.rows("UPDATE transfer SET amount_minor = 6 WHERE position = 5")
    result = florin(books, "prove-inclusion", id_of(books, 5))
    books.rows("UPDATE transfer SET amount_minor = 5 WHERE position = 5")

    assert (result.exit_code, "is not as it was sealed in block 2: run `florin verify`" in result.stderr) == (1, True)


def test_a_block_that_the_chain_does_not_reach_is_refused(books: Engine) -> None:
    """Before the command's own, or after the newest."""
    results = [florin(books, "prove-inclusion", id_of(books, 5), "--to", to) for to in (1, 4)]

    assert [(each.exit_code, each.stderr) for each in results] == [
        (2, f"florin: --to {to}: the command is in block 2, and the newest is 3\n") for to in (1, 4)
    ]


def test_the_script_runs_with_python_3_8() -> None:
    """An outsider has whatever Python his machine came with."""
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 8))
    imported = {alias.name for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names}
    imported |= {str(each.module) for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}

    assert imported <= {"argparse", "datetime", "hashlib", "json", "pathlib", "sys"}


def test_sealing_goes_on_after_a_verification(books: Engine) -> None:
    """What was not sealed is, and then nothing is left."""
    with books.pool.connection() as conn:
        seal_next(conn, now=clock.now(), limit=3)

    assert "Not sealed yet: 0 outcomes." in florin(books, "verify").stdout
