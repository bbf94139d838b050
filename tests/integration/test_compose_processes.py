"""What compose would start, started without it: the image's files, the services' own commands and environment."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from cli.servers import process as processes
from tests.conftest import Database
from tests.eventually import eventually
from tests.integration.test_image import COPIED, ROOT

SERVICES: Final[dict[str, dict[str, Any]]] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
READY_WITHIN_S: Final = 60
PORTS: Final = {"api": "8000", "exporter": "9109"}
"""Those that the services' own commands name. Others have one for their health check."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folder /app of the image: what the Dockerfile copies, and nothing of the repository around it."""
    for name in (name.rstrip("/") for name in COPIED if name.endswith("/")):
        copytree(ROOT / name, tmp_path / "app" / name, ignore=ignore_patterns("__pycache__"))
    return tmp_path / "app"


def test_a_command_goes_through_the_services_as_compose_starts_them(
    image: Path, database: Database, redis_url: str
) -> None:
    """No file and no variable is missing that only the repository or `florin up` has; and all of them are counted."""
    ports = {name: processes.free_port() for name in ("api", "worker", "scheduler", "exporter")}
    figures = image.parent / "metrics"
    figures.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(image),
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
        "PROMETHEUS_MULTIPROC_DIR": str(figures),
        "FLORIN_EXPORTER_URL": f"http://127.0.0.1:{ports['exporter']}",
        "FLORIN_EXPORTER_HOSTS": "exporter",
        "FLORIN_PROBE_URL": f"http://127.0.0.1:{ports['api']}/healthz",
        "FLORIN_PROMETHEUS_URL": f"http://127.0.0.1:{processes.free_port()}",
    }
    migrated = run("migrate", image, environment | {"DATABASE_OWNER_URL": database.owner_url})
    assert migrated.wait(60) == 0

    with ExitStack() as services:
        for name, port in ports.items():
            services.enter_context(running(name, image, environment, port))
        for name, port in ports.items():
            wait_until_healthy(name, environment, image, port)
        port = ports["api"]
        key = subprocess.run(
            [sys.executable, "-m", "cli", "keys", "create", "billing", "--scopes", "commands:write,read"],
            cwd=image,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        opened = post(port, key, "open", {"type": "open_account", "account": "alice", "currency": "USD"})
        deposit = {"type": "deposit", "account": "alice", "amount": "10.50", "currency": "USD"}
        deposited = post(port, key, "deposit", deposit)
        eventually(lambda: "florin_api_up 1.0" in figures_of(ports["exporter"]))
        shown = figures_of(ports["exporter"])

    assert (opened["status"], deposited["status"]) == ("applied", "applied")
    assert deposited["balances"] == {"alice": "10.50"}
    assert "florin_postgres_up 1.0" in shown
    assert "florin_commands_accepted_total 2.0" in shown
    for name in ports:
        assert f'component="{name}"' in shown


@contextmanager
def running(name: str, image: Path, environment: Mapping[str, str], port: int) -> Iterator[None]:
    """One process of a service. It must end well, and in the time that compose grants it."""
    process = run(name, image, environment, port)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        exit_code = process.wait(int(SERVICES[name]["stop_grace_period"].removesuffix("s")))
    finally:
        process.kill()
        process.wait()
    assert exit_code == 0, name


def run(name: str, image: Path, environment: Mapping[str, str], port: int = 0) -> subprocess.Popen[bytes]:
    """Start the command of a service with the environment that compose gives it, and a port of its own."""
    wanted = SERVICES[name]["environment"]
    assert set(wanted) <= {*environment, "FLORIN_METRICS_PORT"}
    given = {variable: environment[variable] for variable in ("PATH", "PYTHONPATH")}
    given |= {variable: environment.get(variable, str(port)) for variable in wanted}
    command = [sys.executable if word == "python" else word for word in SERVICES[name]["command"]]
    command = [{"0.0.0.0": "127.0.0.1", PORTS.get(name): str(port)}.get(word, word) for word in command]
    return subprocess.Popen(
        command,
        cwd=image,
        env=given,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def wait_until_healthy(name: str, environment: Mapping[str, str], image: Path, port: int) -> None:
    """Ask as compose does, with the service's own health check."""
    _, *words = SERVICES[name]["healthcheck"]["test"]
    ours = PORTS.get(name) or SERVICES[name]["environment"]["FLORIN_METRICS_PORT"]
    command = [sys.executable if word == "python" else word.replace(f":{ours}/", f":{port}/") for word in words]
    end = time.monotonic() + READY_WITHIN_S
    while subprocess.run(command, cwd=image, env=environment, stderr=subprocess.DEVNULL).returncode:
        assert time.monotonic() < end
        time.sleep(0.2)


def post(port: int, api_key: str, idempotency_key: str, body: Mapping[str, str]) -> dict[str, Any]:
    """Send a command and wait for its outcome."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/commands",
        json.dumps(body).encode(),
        {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key,
            "Prefer": "wait=20",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        document: dict[str, Any] = json.load(answer)
    return document


def figures_of(port: int) -> str:
    """What Prometheus would be told."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text
