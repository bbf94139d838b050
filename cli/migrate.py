"""`florin migrate`: what ``python -m migrations`` does, for the database of the environment or of a running stack."""

import psycopg
import typer

import migrations
from cli import addresses
from cli.addresses import DataDir
from cli.failing import fail


def migrate(data_dir: DataDir = None) -> None:
    """Bring the database's schema forward, then let the application's role log in."""
    owner_url, app_url = addresses.databases(data_dir)
    try:
        applied = migrations.migrate(owner_url)
        if app_url:
            migrations.allow_login(owner_url, app_url)
    except migrations.MigrationError as error:
        fail(str(error))
    except psycopg.Error as error:
        fail(f"the database cannot be migrated: {addresses.words_of(error)}")
    typer.echo("\n".join(f"applied {name}" for name in applied) or "The schema is current.")
