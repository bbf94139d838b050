"""The command line: which commands there are, and in which module each lives.
A module is imported when its command is asked for, so that no command pays for another's imports."""

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

COMMANDS: Final = {
    "up": "cli.up:up",
    "replay": "cli.replay:replay",
    "keys": "cli.keys:app",
    "jobs": "cli.jobs:app",
    "migrate": "cli.migrate:migrate",
    "test": "cli.run_tests:app",
    "alerts": "cli.alerts:app",
    "quarantine": "cli.alerts:quarantine_app",
    "dead-letters": "cli.dead_letters:app",
    "queue": "cli.queue:app",
    "explain": "cli.explain:explain",
    "top": "cli.top:top",
    "simulate": "cli.simulate:simulate",
    "forecast": "cli.forecast:forecast",
    "reconcile": "cli.reconcile:reconcile",
    "statement": "cli.statement:statement",
    "journal": "cli.journal:journal",
    "prove": "cli.prove:prove",
    "verify": "cli.verify:verify",
    "prove-inclusion": "cli.prove_inclusion:prove_inclusion",
    "bench": "cli.bench:bench",
    "check": "cli.check:check",
    "lock": "cli.lock:lock",
}
"""A command is ``module:function``, or ``module:app`` for one with subcommands or settings of its own."""


class Commands(TyperGroup):
    """
    Finds commands in the table instead of importing them all.

    The Any's stand for classes of click, of which typer carries a copy that it does not export.
    """

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False)
            found.command(cmd_name)(function)
        return typer.main.get_command(found)


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False)


@app.callback()
def florin() -> None:
    """Florin, an exactly-once payments processor."""
