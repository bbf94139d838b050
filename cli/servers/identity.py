"""Which account runs Postgres: it refuses root, so root lends it an unprivileged account."""

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.servers.errors import ServersError


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine that root can turn into."""

    name: str
    uid: int
    gid: int


def account_for(server_data: Path) -> Account | None:
    """Return the account to switch to, or None for our own. Existing data keeps the account that owns it."""
    if os.geteuid() != 0:
        return None
    with suppress(FileNotFoundError, KeyError):
        return _account(pwd.getpwuid(server_data.stat().st_uid))
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return _account(pwd.getpwnam(name))
    raise ServersError("Postgres refuses to run as root; run as another user, or make one: useradd --system postgres")


def can_enter(account: Account | None, directory: Path) -> bool:
    """Whether the account can reach what lies in this folder, whatever the folders above it allow."""
    return can_run(account, ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)])


def can_run(account: Account | None, command: Sequence[str]) -> bool:
    """Whether a short command succeeds for the account. Asking the kernel beats guessing from mode bits."""
    try:
        return run(account, command, env={}).returncode == 0
    except OSError:
        return False


def run(account: Account | None, command: Sequence[str], *, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with the rights of the account, and keep what it says."""
    return subprocess.run(
        command,
        check=False,
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
