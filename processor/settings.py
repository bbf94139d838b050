"""What a process is told from outside. A setting without a safe default has none, so a missing one stops the start."""

from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, Json, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from processor import money
from processor.domain.rules import Bounds, Overdraft, Rules
from processor.errors import SettingsError

Positive = Annotated[int, Field(gt=0)]

_BOUNDED: Final = ("deposit", "withdraw", "transfer", "place_hold")


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone {name!r}: give an IANA name such as UTC or Europe/Prague") from None
    return name


def _words(said: object) -> object:
    return [word.strip() for word in said.split(",") if word.strip()] if isinstance(said, str) else said


def _http(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("http://", "https://")):
        raise ValueError("give an address that begins with https:// or http://")
    return url


def _amounts(bounds: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    for currency, (smallest, largest) in bounds.items():
        if money.parse_amount(smallest, currency) > money.parse_amount(largest, currency):
            raise ValueError(f"{currency}: {smallest} is above {largest}")
    return bounds


def _bounded(bounds: dict[str, dict[str, tuple[str, str]]]) -> dict[str, dict[str, tuple[str, str]]]:
    for type_, by_currency in bounds.items():
        if type_ not in _BOUNDED:
            raise ValueError(
                f"{type_}: bounds are for {', '.join(_BOUNDED)}; those of advances are FLORIN_ADVANCE_BOUNDS"
            )
        _amounts(by_currency)
    return bounds


def _overdrafts(overdrafts: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    for currency, amounts in overdrafts.items():
        for amount in amounts:
            money.parse_amount(amount, currency, zero=True)
    return overdrafts


class RuleSettings(BaseSettings):
    """What the bank may set. The same in every worker, or what becomes of a command depends on who decides it."""

    model_config = SettingsConfigDict(env_prefix="FLORIN_", frozen=True, populate_by_name=True)

    business_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """The zone, by its IANA name, whose date is the business date."""
    max_live_advances: Positive = 1
    """Advances that an account may have before it has paid one back."""
    advance_bounds: Annotated[
        Json[dict[str, tuple[str, str]]], NoDecode, AfterValidator(_amounts), Field(validate_default=False)
    ] = {}
    """The smallest and the largest advance by currency, such as {"USD": ["10.00", "5000.00"]}; others have none."""
    amount_bounds: Annotated[
        Json[dict[str, dict[str, tuple[str, str]]]], NoDecode, AfterValidator(_bounded), Field(validate_default=False)
    ] = {}
    """The same for other commands, by type: {"withdraw": {"USD": ["1.00", "500.00"]}}."""
    overdraft_defaults: Annotated[
        Json[dict[str, tuple[str, str]]], NoDecode, AfterValidator(_overdrafts), Field(validate_default=False)
    ] = {}
    """Limit and fee of new accounts that ask for none of their own, by currency: {"USD": ["100.00", "15.00"]}."""
    partial_collection: bool = False
    """Whether an instalment for which there is not enough takes what there is; the rest is missed."""

    def rules(self) -> Rules:
        """What the domain needs to know."""
        return Rules(
            zone=ZoneInfo(self.business_zone),
            max_live_advances=self.max_live_advances,
            bounds={
                (type_, currency): Bounds(*(money.parse_amount(amount, currency) for amount in amounts))
                for type_, bounds in {**self.amount_bounds, "advance": self.advance_bounds}.items()
                for currency, amounts in bounds.items()
            },
            overdrafts={
                currency: Overdraft(*(money.parse_amount(amount, currency, zero=True) for amount in amounts))
                for currency, amounts in self.overdraft_defaults.items()
            },
            partial_collection=self.partial_collection,
        )


class AlertSettings(BaseSettings):
    """Who is told when something is wrong, and what waits for a person then. Addresses hold secrets: never log them."""

    model_config = SettingsConfigDict(env_prefix="FLORIN_", frozen=True, populate_by_name=True)

    quarantine: bool = True
    """Whether an account that a break names is frozen until an admin releases it."""
    release_needs_two: bool = False
    """Whether it takes a second admin to release an account: the first asks, another one confirms."""
    runbook_url: str = "docs/runbooks.md"
    """Where the runbooks are; the name of the proof is added as a fragment."""
    alert_webhook_url: SecretStr | None = None
    """Where each change of an alert is posted, signed as Standard Webhooks has it."""
    alert_webhook_secret: SecretStr | None = None
    """What signs it: whsec_ and 24 to 64 random bytes in base64."""
    alert_urls: Annotated[Json[list[SecretStr]], NoDecode, Field(validate_default=False)] = []
    """Who else is told, as apprise has it: ["mailto://user:password@example.com", "slack://token"]."""


class Settings(RuleSettings, AlertSettings):
    """From the environment: DATABASE_URL and REDIS_URL, and FLORIN_ before the name of every other one."""

    database_url: SecretStr = Field(validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    redis_url: SecretStr = Field(validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    metrics_dir: Path | None = Field(None, validation_alias=AliasChoices("PROMETHEUS_MULTIPROC_DIR", "metrics_dir"))

    metrics_port: int | None = None
    """Where a worker or scheduler that shares no metrics folder, as in a container, serves its own figures."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
    """JSON, or text for a person; auto is text if standard error is a terminal."""
    tracing: bool = False
    """Whether spans are recorded and sent by OTLP. The standard OTEL_ variables say where to."""
    bank_name: Annotated[str, Field(min_length=1, max_length=64)] = "Florin"
    """Whose name stands at the top of a customer's statement."""
    ready_fd: int | None = None

    # The intake.
    max_backlog: Positive = 500_000
    """Pending commands above which the intake answers 429."""
    group_size: Positive = 1_000
    """Commands that share one intake transaction, at most."""
    max_waiting: Positive = 50_000
    """Commands that wait in one API process for their transaction, at most."""
    max_body_bytes: Positive = 16 * 1024 * 1024
    max_batch_commands: Positive = 10_000
    max_wait_s: Positive = 30
    """The longest ``Prefer: wait`` that is granted."""
    api_connections: Positive = 8
    key_cache_s: Positive = 5
    """A revoked key is refused after this many seconds, in every process."""

    # The page for operators, which the API serves.
    exporter_url: Annotated[SecretStr, AfterValidator(_http)] = SecretStr("http://127.0.0.1:9109")
    """Where the exporter of this host is: the page's figures of the last hour."""
    prometheus_url: Annotated[SecretStr, AfterValidator(_http)] | None = None
    """A Prometheus that scrapes the exporters: the page prefers it, since it knows every host and remembers longer."""

    # The workers.
    worker_threads: Positive = 1
    queue_prefetch: Positive = 1
    """Messages that a worker process has in hand. More would be taken out of turn, before those of other processes."""
    poll_ms: Positive = 20
    """The longest nap of a worker that found the queue empty."""

    # The scheduler.
    sweep_every_s: Positive = 2
    stranded_after_s: Positive = 3
    """The age at which a pending command is taken for stranded."""
    roll_forward_every_s: Positive = 30
    collect_every_s: Positive = 3_600
    """How often due instalments are looked for. When one is due is written on it."""
    collect_backlog: Positive = 20_000
    """Places in line above which due instalments wait: clients must not stand behind all of a day's."""
    expire_holds_every_s: Positive = 30
    """How often holds whose time is over are looked for."""
    check_advances_every_s: Positive = 300
    seal_every_s: Positive = 60
    seal_block_size: Annotated[int, Field(gt=0, le=50_000)] = 10_000
    """Settled commands in a sealed block, at most."""
    seal_file: Path | None = None
    """A file that every new block is added to, as a line of JSON. Keep it where the database's owner cannot write."""
    seal_webhook: Annotated[SecretStr, AfterValidator(_http)] | None = None
    """Where each newest block is posted, as the same JSON."""
    notify_every_s: Positive = 5
    """How often it is looked whether somebody is to be told of an alert."""
    prove_every_s: Positive = 60
    """How often the proofs look at what is new."""
    prove_full_every_s: Positive = 7 * 86_400
    """How often each proof looks at everything."""
    pending_limit_s: Positive = 900
    """The age at which a command without an outcome is a break."""
    clock_tolerance_s: Positive = 60
    """By how much the clocks of two machines may differ before it is a break."""
    forget_runs_every_s: Positive = 3_600
    keep_runs_days: Positive = 30
    """Runs of jobs are forgotten after so many days; those that succeeded and found nothing to do, after one."""

    # The exporter.
    exporter_every_s: Annotated[int, Field(gt=0, le=10)] = 5
    """How often the exporter reads Postgres and Redis. What is older than 15 seconds is not shown."""
    exporter_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    """Names by which the exporter may be called, with commas between them, besides localhost and any IP address."""
    probe_url: Annotated[SecretStr, AfterValidator(_http)] | None = None
    """What the exporter asks to see whether the API of its host answers, such as http://127.0.0.1:8000/healthz."""


@cache
def settings() -> Settings:
    """The process's settings, read once. Raises ``SettingsError``, which names each one that is missing or wrong."""
    try:
        return Settings()  # type: ignore[call-arg]  # the environment fills it
    except ValidationError as error:
        wrong = "; ".join(f"{_variable(e['loc'][0])}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"the environment is not as it should be: {wrong}") from None


def _variable(field: object) -> str:
    name = str(field)
    return name if name.isupper() else f"FLORIN_{name.upper()}"
