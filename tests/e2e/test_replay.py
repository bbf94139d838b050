"""`florin replay` against real processes: whatever is killed or sent again, each transaction counts once."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, LiteralString
from uuid import uuid4

import httpx
import pytest

from cli import instance
from cli.servers import LocalServers
from cli.servers.process import wait_until
from tests.conftest import TEMPLATE
from tests.eventually import eventually
from tests.folders import throwaway_folder
from tests.stack import Stack, held, new_database

SMALL: Final = Path(__file__).parents[1] / "data" / "transactions-small.csv"
ENOUGH: Final = ("--overdraft-limit", "20000.00")
LIMIT_S: Final = 60


@pytest.fixture(scope="module")
def stack(servers: LocalServers, _application_password: str) -> Iterator[Stack]:
    """Real processes. A test that kills some starts them again."""
    with (
        throwaway_folder() as folder,
        LocalServers(folder, postgres=False) as queue,
        new_database(servers, TEMPLATE, _application_password) as (owner_url, app_url),
        Stack(owner_url, app_url, queue.redis_url, folder, settings={"FLORIN_MAX_BACKLOG": "40"}) as stack,
    ):
        yield stack


@dataclass(frozen=True)
class Replayer:
    """A client of the stack, and the real transactions on accounts that no other test has."""

    stack: Stack
    file: Path
    client: str
    key: str

    @property
    def rows(self) -> list[dict[str, str]]:
        with self.file.open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def accounts(self) -> list[str]:
        return sorted({row["account"] for row in self.rows})

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Run the command; the API is named by the environment."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLORIN_")}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "replay", str(self.file), "--currency", "CZK", *options],
            env={**inherited, "FLORIN_API": self.stack.url, "FLORIN_API_KEY": self.key, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, **environment: str) -> tuple[int, str, str]:
        """Run the command to its end: exit code, standard output, standard error."""
        return finish(self.start(*options, **environment))

    def count(self, query: LiteralString) -> int:
        """A number from the database, as its owner sees it."""
        with self.stack.owner() as conn:
            row = conn.execute(query, {"client": self.client, "accounts": self.accounts}).fetchone()
        assert row is not None
        return int(row[0])

    def received(self) -> int:
        """Commands of this client that have a receipt."""
        return self.count("SELECT count(*) FROM command JOIN client ON client.id = client_id WHERE name = %(client)s")

    def transfers(self) -> int:
        """Transfers that touched the file's accounts."""
        return self.count(
            """
            SELECT count(*) FROM transfer JOIN account ON account.id IN (debit_account_id, credit_account_id)
            WHERE account.name = ANY(%(accounts)s)
            """
        )

    def waiting_workers(self) -> int:
        """Workers in the middle of a transaction, of which an account's lock keeps them."""
        return self.count("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


@pytest.fixture
def replayer(stack: Stack, tmp_path: Path) -> Replayer:
    """A new client and a copy of the small file with account names of its own."""
    client = f"bank-{uuid4().hex[:8]}"
    file = tmp_path / "transactions.csv"
    with SMALL.open(newline="") as original, file.open("w", newline="") as copy:
        reader = csv.DictReader(original)
        writer = csv.DictWriter(copy, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows({**row, "account": f"{client}:{row['account']}"} for row in reader)
    return Replayer(stack, file, client, stack.key(client, "commands:write", "read"))


def finish(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    output, errors = command.communicate(timeout=LIMIT_S)
    assert "Traceback" not in errors
    return command.returncode, output, errors


def document_of(result: tuple[int, str, str]) -> dict[str, Any]:
    """The verdict of a replay that adds up."""
    exit_code, output, errors = result
    assert exit_code == 0, output + errors
    document: dict[str, Any] = json.loads(output)
    return document


def test_real_transactions_are_applied_once_and_a_second_run_changes_nothing(replayer: Replayer) -> None:
    """The same file twice is one file: the keys say so, and the balances of all accounts are their plain sums."""
    first = document_of(replayer.run("--json", *ENOUGH))
    second = document_of(replayer.run("--json", *ENOUGH))

    total = sum(Decimal(row["amount"]) * (1 if row["type"] == "deposit" else -1) for row in replayer.rows)
    common = {"adds_up": True, "sent": 529, "settled": 529, "applied": 529, "refused": {}, "twice": 0}
    assert first.items() >= {**common, "accepted": 529, "replayed": 0, "accounts": 20, "accounts_balanced": 20}.items()
    assert second.items() >= {**common, "accepted": 0, "replayed": 529, "settled_per_second": None}.items()
    assert first["expected_total"] == first["actual_total"] == second["actual_total"] == str(total)
    assert replayer.transfers() == 529


def test_what_the_overdraft_does_not_allow_is_refused_and_counted(replayer: Replayer) -> None:
    """The refusals are those that a ledger of three lines has for the same file, read in order."""
    balances: Counter[str] = Counter()
    refused = 0
    for row in replayer.rows:
        amount_minor = int(Decimal(row["amount"]) * 100)
        if row["type"] == "deposit":
            balances[row["account"]] += amount_minor
        elif balances[row["account"]] >= amount_minor:
            balances[row["account"]] -= amount_minor
        else:
            refused += 1

    exit_code, output, errors = replayer.run()

    assert exit_code == 0, output + errors
    assert f"({529 - refused} applied, {refused} refused for insufficient_funds)" in output
    assert f"actual total {Decimal(balances.total()).scaleb(-2)} CZK" in output
    assert refused > 5


def test_workers_killed_in_the_middle_of_a_transaction_apply_nothing_twice(replayer: Replayer) -> None:
    """They had decided nothing or committed nothing; their successors take it up, and the verdict is right."""
    workers = replayer.stack.running("worker")
    with held(replayer.stack, replayer.accounts[0]):
        command = replayer.start("--json", *ENOUGH)
        assert wait_until(lambda: replayer.waiting_workers() > 0, timeout_s=LIMIT_S)
        replayer.stack.kill(*workers)
    replayer.stack.start(*workers)

    assert document_of(finish(command)).items() >= {"applied": 529, "twice": 0, "accounts_balanced": 20}.items()
    assert replayer.transfers() == 529


def test_an_api_that_is_killed_is_asked_again_with_the_same_keys(replayer: Replayer) -> None:
    """The person at the terminal does not even notice."""
    with held(replayer.stack, replayer.accounts[0]):
        command = replayer.start("--json", *ENOUGH)
        assert wait_until(lambda: replayer.received() > 0, timeout_s=LIMIT_S)
        replayer.stack.kill("api-1")
        replayer.stack.start("api-1")

    assert document_of(finish(command)).items() >= {"applied": 529, "twice": 0, "accounts_balanced": 20}.items()
    assert replayer.transfers() == 529


def test_an_interrupted_replay_continues_when_it_is_run_again(replayer: Replayer) -> None:
    """Ctrl-C says that nothing is lost, and that is true."""
    with held(replayer.stack, replayer.accounts[0]):
        command = replayer.start(*ENOUGH)
        assert wait_until(lambda: replayer.received() > 0, timeout_s=LIMIT_S)
        command.send_signal(signal.SIGINT)
        exit_code, _, errors = finish(command)
    assert (exit_code, "Nothing is lost" in errors) == (130, True)

    document = document_of(replayer.run("--json", *ENOUGH))

    assert document["replayed"] > 0
    assert document.items() >= {"applied": 529, "twice": 0, "accounts_balanced": 20}.items()


def test_a_replay_that_does_not_settle_ends_and_says_what_to_look_at(replayer: Replayer) -> None:
    """Receipts without outcomes are no success, and nobody waits for ever."""
    workers = replayer.stack.running("worker")
    replayer.stack.kill(*workers)
    try:
        exit_code, output, errors = replayer.run("--patience", "1", *ENOUGH)
    finally:
        replayer.stack.start(*workers)

    assert (exit_code, output) == (1, "")
    assert "549 commands are accepted, but none has settled for 1 s" in errors


def test_a_full_backlog_is_waited_for(replayer: Replayer) -> None:
    """429 is no refusal: the same lines are sent again, for as long as the person has patience."""
    workers = replayer.stack.running("worker")
    replayer.stack.kill(*workers)
    try:
        replayer.run("--patience", "0", *ENOUGH)
        assert wait_until(lambda: "waiting" in replayer.run("--patience", "0", *ENOUGH)[2], timeout_s=LIMIT_S)
        command = replayer.start("--json", "--patience", str(LIMIT_S), *ENOUGH)
    finally:
        replayer.stack.start(*workers)

    assert document_of(finish(command)).items() >= {"settled": 529, "applied": 529, "twice": 0}.items()


def test_an_account_with_other_commands_is_named_and_does_not_add_up(replayer: Replayer) -> None:
    """Whether its surplus is another command or the same one twice cannot be seen, so it is not called right."""
    assert replayer.run(*ENOUGH)[0] == 0
    headers = {"Authorization": f"Bearer {replayer.key}", "Idempotency-Key": "by the way", "Prefer": "wait=30"}
    deposit = {"type": "deposit", "account": replayer.accounts[0], "amount": "1.00", "currency": "CZK"}
    url = f"{replayer.stack.url}/v1/commands"
    # The intake looks at its backlog from time to time only: a moment after the file, it may still turn us away.
    assert eventually(lambda: httpx.post(url, headers=headers, json=deposit, trust_env=False).status_code == 200)

    exit_code, output, _ = replayer.run(*ENOUGH)

    assert exit_code == 1
    assert f"account {replayer.accounts[0]}: " in output
    assert "Either other commands than those of this file use these accounts" in output
    assert "19 of 20 accounts hold the plain sum" in output


def test_a_file_that_was_changed_under_its_ids_is_rejected_with_the_line(replayer: Replayer) -> None:
    """A key names one transaction for ever: the person sees which line differs in what."""
    assert replayer.run(*ENOUGH)[0] == 0
    last = replayer.rows[-1]
    before, amount, after = replayer.file.read_text().rpartition(last["amount"])
    replayer.file.write_text(f"{before}9{amount}{after}")

    exit_code, output, errors = replayer.run(*ENOUGH)

    assert (exit_code, output) == (1, "")
    assert f"line 530, id {last['id']}: This key was first used with another amount" in errors


def test_other_options_than_the_first_time_are_rejected(replayer: Replayer) -> None:
    """The accounts are open already, with another overdraft."""
    assert replayer.run(*ENOUGH)[0] == 0

    exit_code, _, errors = replayer.run("--overdraft-limit", "1.00")

    assert exit_code == 1
    assert "the opening of account" in errors
    assert "overdraft_limit: differs" in errors


def test_the_stack_of_a_data_directory_is_found(replayer: Replayer, tmp_path: Path) -> None:
    """What `florin up` wrote there is enough; and of two stacks that are named, none is guessed."""
    note = instance.Stack(replayer.stack.url, replayer.key, pid=os.getpid())
    instance.publish(tmp_path, note)

    nothing = {"FLORIN_API": "", "FLORIN_API_KEY": ""}
    assert replayer.run("--data-dir", str(tmp_path), *ENOUGH, **nothing)[0] == 0
    assert replayer.run("--data-dir", str(tmp_path), *ENOUGH)[::2] == (
        2,
        "florin: --data-dir and FLORIN_API name two stacks: leave one out\n",
    )


def test_a_key_that_the_api_does_not_know_ends_with_a_sentence(replayer: Replayer) -> None:
    """401 does not get better by waiting, so it is not tried again."""
    exit_code, output, errors = replayer.run(FLORIN_API_KEY="florin_nobody00_" + "s" * 43)

    assert (exit_code, output) == (1, "")
    assert "answered 401: Send a valid key" in errors
