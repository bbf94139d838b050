"""Prometheus and Alertmanager of a local stack: found or asked for, configured from the repository's own files."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import monitoring
from cli.monitoring import Installed
from cli.servers import ServersError
from cli.servers.data_dir import DataDir

BOTH = Installed("/bin/prometheus", "/bin/alertmanager")
RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks.md"
EXPORTER = "http://127.0.0.1:12345"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDir]:
    with DataDir(tmp_path / "data") as data:
        yield data


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole path of programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(monitoring.PAGE_WEBHOOK, raising=False)
    for variable in (monitoring.TICKET_WEBHOOK, monitoring.WATCHDOG_WEBHOOK, monitoring.RUNBOOK_URL):
        monkeypatch.delenv(variable, raising=False)


def install(folder: Path, name: str) -> None:
    (folder / name).touch(0o755)


def test_what_is_asked_for_and_missing_is_named_with_the_command_that_installs_it(programs: Path) -> None:
    """Nobody has to find out which package has which program."""
    with pytest.raises(ServersError, match="sudo apt-get install prometheus prometheus-alertmanager"):
        monitoring.look_for(True)
    install(programs, "prometheus")

    with pytest.raises(
        ServersError, match=r"^Alertmanager is not installed; .*apt-get install prometheus-alertmanager "
    ):
        monitoring.look_for(True)


@pytest.mark.parametrize("name", ["prometheus-alertmanager", "alertmanager"])
def test_debians_name_and_the_makers_name_will_both_do(programs: Path, name: str) -> None:
    """Debian renames the program, a download from its makers does not."""
    install(programs, "prometheus")
    install(programs, name)
    found = monitoring.look_for(None)

    assert found == Installed(str(programs / "prometheus"), str(programs / name))
    assert found.missing() is None
    assert monitoring.look_for(False) == Installed(None, None)


def test_without_prometheus_nothing_is_started(data: DataDir) -> None:
    """Alertmanager alone would have nobody to listen to."""
    assert monitoring.prepare(Installed(None, "/bin/alertmanager"), data, exporter=EXPORTER, say=print).programs == ()


def test_every_address_is_of_this_machine_only(data: DataDir) -> None:
    """What stands in the figures, and who is called, is nobody else's business."""
    planned = monitoring.prepare(BOTH, data, exporter=EXPORTER, say=print)
    written = (data.path / "prometheus" / "prometheus.yml").read_text()
    commands = [" ".join(program.command) for program in planned.programs]

    assert '"127.0.0.1:12345"' in written
    assert f'"{planned.alertmanager}"'.replace("http://", "") in written
    assert "exporter:9109" not in written
    assert "alertmanager:9093" not in written
    assert "prometheus:9090" not in written
    assert f'"{planned.prometheus}"'.replace("http://", "") in written
    assert written.count(str(planned.alertmanager).removeprefix("http://")) == 2
    assert "15s" not in written
    assert all("--web.listen-address=127.0.0.1:" in command for command in commands)
    assert "--cluster.listen-address= " in commands[1]
    assert all("URL" not in name for program in planned.programs for name in program.environment or {"URL": ""})


def test_prometheus_runs_without_alertmanager(data: DataDir) -> None:
    """The figures and the alerts are still to be seen."""
    planned = monitoring.prepare(Installed("/bin/prometheus", None), data, exporter=EXPORTER, say=print)

    assert [program.name for program in planned.programs] == ["prometheus"]
    assert planned.alertmanager is None
    assert "targets: []" in (data.path / "prometheus" / "prometheus.yml").read_text()


def test_whom_to_call_comes_from_the_environment_and_is_kept_private(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an address is often a secret. Where there is none, nobody is called, and Alertmanager runs all the same."""
    said: list[str] = []
    monkeypatch.setenv(monitoring.PAGE_WEBHOOK, "https://pager.example/secret")
    monkeypatch.setenv(monitoring.TICKET_WEBHOOK, "hush-hush")
    monkeypatch.setenv(monitoring.WATCHDOG_WEBHOOK, "https://outside.example/")
    planned = monitoring.prepare(BOTH, data, exporter=EXPORTER, say=said.append)
    file = data.path / "alertmanager" / "alertmanager.yml"
    settings = [line for line in file.read_text().splitlines() if not line.startswith("#")]

    assert '    webhook_configs: [{url: "https://pager.example/secret", send_resolved: true}]' in settings
    assert '    webhook_configs: [{url: "https://outside.example/", send_resolved: false}]' in settings
    assert not any("invalid" in line or "hush-hush" in line for line in settings)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert said == [
        "FLORIN_TICKET_WEBHOOK is no address that begins with https:// or http://: nobody is told of these alerts"
    ]
    assert not any("secret" in word for program in planned.programs for word in program.command)


def test_that_nobody_is_called_is_said_once(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts that fire unheard are worse than none: somebody relies on them."""
    said: list[str] = []
    monitoring.prepare(BOTH, data, exporter=EXPORTER, say=said.append)
    monkeypatch.setenv(monitoring.PAGE_WEBHOOK, "https://pager.example/")
    monitoring.prepare(BOTH, data, exporter=EXPORTER, say=said.append)

    assert said == ["alerts call nobody, they are only shown: FLORIN_PAGE_WEBHOOK is not set"]


@pytest.mark.parametrize("said", [None, "https://wiki.example/runbooks"])
def test_an_alert_links_to_a_text_that_can_be_opened(
    data: DataDir, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    """A path within a repository leads nowhere from a browser or a pager."""
    if said is not None:
        monkeypatch.setenv(monitoring.RUNBOOK_URL, said)
    monitoring.prepare(BOTH, data, exporter=EXPORTER, say=print)
    files = (data.path / "prometheus" / "rules").glob("*.yml")
    links = re.findall(r"runbook_url: (\S+)#(\S+)", "".join(file.read_text() for file in files))

    assert len(links) > 30
    assert {page for page, _ in links} == {said or RUNBOOKS.as_uri()}
    assert RUNBOOKS.is_file()


def test_a_disk_that_cannot_be_written_costs_the_figures_and_not_the_money(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Florin starts without them, and says so."""
    said: list[str] = []
    (data.path / "prometheus").touch()
    planned = monitoring.prepare(BOTH, data, exporter=EXPORTER, say=said.append)

    assert planned == monitoring.Monitoring()
    assert said[0].startswith("Prometheus is left out: ")
