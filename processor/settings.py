"""What a process is told from outside. A setting without a safe default has none, so a missing one stops the start."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from processor.errors import SettingsError

Positive = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """From the environment: DATABASE_URL and REDIS_URL, and FLORIN_ before the name of every other one."""

    model_config = SettingsConfigDict(env_prefix="FLORIN_", frozen=True, populate_by_name=True)

    database_url: SecretStr = Field(validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    redis_url: SecretStr = Field(validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    metrics_dir: Path | None = Field(None, validation_alias=AliasChoices("PROMETHEUS_MULTIPROC_DIR", "metrics_dir"))

    metrics_port: int | None = None
    """Where a worker or scheduler that shares no metrics folder, as in a container, serves its own figures."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
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
