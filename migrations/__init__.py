"""The schema's history: numbered SQL files that go forward only, and the runner that applies them."""

from migrations.runner import MigrationError, allow_login, latest_version, migrate

__all__ = ["MigrationError", "allow_login", "latest_version", "migrate"]
