"""
Prometheus and Alertmanager beside a local stack, if this machine has them.

They read the repository's own rules. Money needs neither: whatever becomes of them, Florin goes on.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.servers import ServersError, process
from cli.servers.data_dir import DataDir, write_private
from cli.supervisor import ROOT, Program

PAGE_WEBHOOK: Final = "FLORIN_PAGE_WEBHOOK"
TICKET_WEBHOOK: Final = "FLORIN_TICKET_WEBHOOK"
WATCHDOG_WEBHOOK: Final = "FLORIN_WATCHDOG_WEBHOOK"
RUNBOOK_URL: Final = "FLORIN_RUNBOOK_URL"

_RECEIVERS: Final = (
    ("http://page.invalid/", PAGE_WEBHOOK),
    ("http://ticket.invalid/", TICKET_WEBHOOK),
    ("http://watchdog.invalid/", WATCHDOG_WEBHOOK),
)
"""What stands in the configuration for whose address."""
_OPS: Final = ROOT / "ops"
_RUNBOOKS: Final = "docs/runbooks.md"
"""What the rules link to, as long as nobody says where that is."""
_KEEP: Final = ("--storage.tsdb.retention.time=4d", "--storage.tsdb.retention.size=1GB")
"""The longest window of a rule is three days."""
_TOLD: Final = ("PATH", "HOME", "LANG", "TZ")
"""What they are told of our environment: no passwords are theirs to know."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What is to be run, and where it will be found."""

    programs: tuple[Program, ...] = ()
    prometheus: str | None = None
    alertmanager: str | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the programs are, or None. Debian gives one of them a longer name than its makers do."""

    prometheus: str | None
    alertmanager: str | None

    def missing(self) -> str | None:
        """What is not there and how to get it, in a sentence."""
        packages = [
            package
            for package, found in (("prometheus", self.prometheus), ("prometheus-alertmanager", self.alertmanager))
            if found is None
        ]
        if not packages:
            return None
        names = " and ".join("Alertmanager" if "alert" in package else "Prometheus" for package in packages)
        are = "are" if len(packages) > 1 else "is"
        return f"{names} {are} not installed; on Debian and Ubuntu: sudo apt-get install {' '.join(packages)}"


def look_for(wanted: bool | None) -> Installed:
    """
    Return what may be used: nothing if ``wanted`` is False, what there is if it is None.

    Raises ``ServersError``, which says how to install what is missing, if it is True.
    """
    if wanted is False:
        return Installed(None, None)
    found = Installed(
        shutil.which("prometheus"), shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    )
    if wanted and (missing := found.missing()) is not None:
        raise ServersError(f"{missing} (or use --without-prometheus)")
    return found


def prepare(installed: Installed, data: DataDir, *, exporter: str, say: Callable[[str], None]) -> Monitoring:
    """Write the configuration, and return what is to be started with it. What goes wrong is said, not raised."""
    if installed.prometheus is None:
        return Monitoring()  # Alertmanager alone has nobody to listen to.
    try:
        alertmanager = None if installed.alertmanager is None else _alertmanager(installed.alertmanager, data, say)
        told = None if alertmanager is None else alertmanager.address
        prometheus = _prometheus(installed.prometheus, data, exporter=exporter.removeprefix("http://"), told=told)
    except OSError as error:
        say(f"Prometheus is left out: {error}")
        return Monitoring()
    if alertmanager is not None and not os.environ.get(PAGE_WEBHOOK):
        say(f"alerts call nobody, they are only shown: {PAGE_WEBHOOK} is not set")
    services = [each for each in (prometheus, alertmanager) if each is not None]
    return Monitoring(
        tuple(each.program for each in services),
        f"http://{prometheus.address}",
        None if alertmanager is None else f"http://{alertmanager.address}",
    )


@dataclass(frozen=True, slots=True)
class _Service:
    program: Program
    address: str


def _prometheus(path: str, data: DataDir, *, exporter: str, told: str | None) -> _Service:
    folder = _folder(data, "prometheus")
    shutil.rmtree(folder / "rules", ignore_errors=True)
    (folder / "rules").mkdir()
    runbooks = os.environ.get(RUNBOOK_URL) or (ROOT / _RUNBOOKS).as_uri()
    for file in (_OPS / "prometheus" / "rules").glob("*.yml"):
        (folder / "rules" / file.name).write_text(file.read_text().replace(f"{_RUNBOOKS}#", f"{runbooks}#"))
    configuration = (_OPS / "prometheus" / "prometheus.yml").read_text()
    address = f"127.0.0.1:{process.free_port(9090)}"
    for theirs, ours in (
        ("scrape_interval: 15s", "scrape_interval: 5s"),
        ("scrape_timeout: 10s", "scrape_timeout: 4s"),
        ("evaluation_interval: 15s", "evaluation_interval: 5s"),
        ('"exporter:9109"', json.dumps(exporter)),
        ('"prometheus:9090"', json.dumps(address)),
        ('"alertmanager:9093"', "" if told is None else json.dumps(told)),
    ):
        configuration = configuration.replace(theirs, ours)
    write_private(folder / "prometheus.yml", configuration)
    command = [
        path,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        *_KEEP,
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    return _service("prometheus", command, address)


def _alertmanager(path: str, data: DataDir, say: Callable[[str], None]) -> _Service:
    folder = _folder(data, "alertmanager")
    configuration = (_OPS / "alertmanager" / "alertmanager.yml").read_text()
    for placeholder, variable in _RECEIVERS:
        configuration = _with_receiver(configuration, placeholder, _address_in(variable, say))
    write_private(folder / "alertmanager.yml", configuration)
    address = f"127.0.0.1:{process.free_port(9093)}"
    command = [
        path,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",  # It is alone, and opens no port to find others.
        "--log.level=warn",
    ]
    return _service("alertmanager", command, address)


def _folder(data: DataDir, name: str) -> Path:
    folder = data.path / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _address_in(variable: str, say: Callable[[str], None]) -> str | None:
    url = os.environ.get(variable)
    if url and not url.startswith(("http://", "https://")):
        # The address may be a secret, so it is not repeated.
        say(f"{variable} is no address that begins with https:// or http://: nobody is told of these alerts")
        return None
    return url or None


def _with_receiver(configuration: str, placeholder: str, url: str | None) -> str:
    """Put the address where the placeholder is, or take the line out: the receiver then tells nobody."""
    return "\n".join(
        line if url is None else line.replace(f'"{placeholder}"', json.dumps(url))
        for line in configuration.splitlines()
        if url is not None or line.lstrip().startswith("#") or placeholder not in line
    )


def _service(name: str, command: list[str], address: str) -> _Service:
    told = {variable: os.environ[variable] for variable in _TOLD if variable in os.environ}
    return _Service(Program(name, command, ready_url=f"http://{address}/-/ready", environment=told), address)
