"""`florin check` tells the whole truth in one run: nothing is left out because something before it failed."""

import io
import sys
from collections.abc import Sequence
from typing import Final

import pytest
import typer
from rich.console import Console

from cli import check as module
from cli.check import Step, check, run_all, shell_scripts, steps

PASSES = Step("passes", [sys.executable, "-c", ""])
FAILS = Step("fails", [sys.executable, "-c", "raise SystemExit(3)"])
MISSING = Step("missing", ["a-tool-that-nobody-has"])


def test_a_failure_does_not_stop_the_checks_after_it() -> None:
    """Whoever pushed learns of all that is wrong at once."""
    results = run_all(iter([FAILS, PASSES, MISSING, PASSES]), Console(file=io.StringIO()))

    assert [result.exit_code for result in results] == [3, 0, 127, 0]


@pytest.mark.parametrize("wrong", [FAILS, MISSING])
def test_one_failure_fails_the_whole(wrong: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that could not run has not passed."""
    monkeypatch.setattr(module, "steps", lambda **_: iter([wrong, PASSES]))

    with pytest.raises(typer.Exit) as end:
        check(fix=False, fast=False)
    assert end.value.exit_code == 1


def test_it_ends_well_when_all_passed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The summary is the last thing to be read."""
    monkeypatch.setattr(module, "steps", lambda **_: iter([PASSES, PASSES]))

    check(fix=False, fast=False)

    assert capfd.readouterr().out.count("passed") == 2


EVERY_TEST: Final = ["python", "-m", "pytest", "-m", "slow or not slow"]


@pytest.mark.parametrize(
    ("fix", "fast", "first", "last"),
    [
        (False, False, ["ruff", "format", "--check"], EVERY_TEST),
        (True, False, ["ruff", "format"], EVERY_TEST),
    ],
)
def test_mending_comes_first_and_the_tests_last(
    fix: bool, fast: bool, first: Sequence[str], last: Sequence[str]
) -> None:
    """A mended file is checked, and quick answers come before slow ones."""
    commands = [step.command for step in steps(fix=fix, fast=fast)]

    assert (commands[0], commands[-1]) == (first, last)


def test_fast_leaves_out_the_tests_and_nothing_else() -> None:
    """It is for the moment before a commit, not another set of rules."""
    whole = [step.name for step in steps(fix=False, fast=False)]

    assert [step.name for step in steps(fix=False, fast=True)] == [name for name in whole if name != "tests"]


def test_every_shell_script_is_found_whatever_its_name() -> None:
    """A script without a suffix is checked like the others."""
    found = shell_scripts()

    assert ".ci/run" in found
    assert "tests/fresh_clone.sh" in found
    assert not any(name.endswith(".py") for name in found)
