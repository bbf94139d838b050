"""requirements/*.lock say what pyproject.toml asks for, by hash and by nothing else. No network is needed to see it."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from cli.lock import LAYERS, environment_of_uv, refuse_addresses

ROOT: Final = Path(__file__).resolve().parents[2]
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED_BY_US: Final = re.compile(r"#.*\bflorin \(pyproject\.toml(:\w+)?\)")

locks = pytest.mark.parametrize("lock", LAYERS)


@locks
def test_every_dependency_is_locked_at_a_version_that_it_allows(lock: str) -> None:
    """What pyproject.toml asks for and what is installed are the same; `florin lock` brings them in step."""
    pins = read(lock)
    wrong = [
        f"{wanted} (locked: {pins[name].version if name in pins else 'nothing'})"
        for name, wanted in dependencies_of(lock).items()
        if name not in pins or not wanted.specifier.contains(pins[name].version, prereleases=True)
    ]

    assert not wrong


@locks
def test_the_lock_was_made_from_the_dependencies_of_today(lock: str) -> None:
    """One that was taken out of pyproject.toml leaves the machines too; one that was added is locked on purpose."""
    made_from = {name for name, pin in read(lock).items() if ASKED_BY_US.search(pin.comment)}

    assert made_from == set(dependencies_of(lock))


@locks
def test_every_pin_is_exact_and_hashed(lock: str) -> None:
    """A package whose file changed under its version is not installed."""
    pins = read(lock)

    assert len(pins) >= len(dependencies_of(lock))
    assert [name for name, pin in pins.items() if not pin.hashes] == []


@locks
def test_a_lock_names_no_address_and_no_path(lock: str) -> None:
    """It works behind any mirror, and shows nothing of the machine that wrote it."""
    text = (ROOT / lock).read_text()
    named = [line for line in text.splitlines() if re.search(r"://| @ |(^|\s)/|^-|find-links|index-url", line)]

    assert not named


@pytest.mark.parametrize(("inner", "outer"), [("runtime", "local"), ("local", "dev")])
def test_what_is_tested_is_what_runs(inner: str, outer: str) -> None:
    """Each lock holds the one before it, at the same versions and with the same files."""
    inside, outside = read(f"requirements/{inner}.lock"), read(f"requirements/{outer}.lock")
    differing = {
        name: (pin.version, outside[name].version if name in outside else None)
        for name, pin in inside.items()
        if name not in outside or (outside[name].version, outside[name].hashes) != (pin.version, pin.hashes)
    }

    assert not differing


def test_wheels_that_lie_on_this_machine_do_not_reach_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a file that was built here would keep everybody else from installing."""
    monkeypatch.setenv("UV_FIND_LINKS", "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    monkeypatch.setenv("KEPT", "yes")
    environment = environment_of_uv()

    assert environment["KEPT"] == "yes"
    assert not {"UV_FIND_LINKS", "PIP_FIND_LINKS"} & set(environment)


@pytest.mark.parametrize("line", ["--index-url https://mirror.example/simple", "thing @ file:wheels/thing.whl"])
def test_a_lock_with_an_address_is_not_written(line: str) -> None:
    """`florin lock` would rather stop than publish somebody's mirror."""
    with pytest.raises(typer.Exit):
        refuse_addresses("requirements/runtime.lock", f"six==1.17.0\n{line}\n")


@dataclass(frozen=True)
class Pin:
    """One requirement of a lock: the version, the files that are allowed, and why it is there."""

    version: Version
    hashes: frozenset[str]
    comment: str


def read(lock: str) -> dict[NormalizedName, Pin]:
    """The pins by name. Whatever is neither a pin, a hash nor a comment is an error."""
    pins: dict[NormalizedName, Pin] = {}
    for block in re.split(r"\n(?=[^\s#])", (ROOT / lock).read_text().strip()):
        head, *rest = block.split("\n")
        requirement = Requirement(head.removesuffix("\\").strip())
        (only,) = requirement.specifier
        assert only.operator == "=="
        hashes = [line.strip().removesuffix("\\").strip() for line in rest if not line.lstrip().startswith("#")]
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes)
        comment = " ".join("# " + line.strip(" #") for line in rest if line.lstrip().startswith("#"))
        name = canonicalize_name(requirement.name)
        assert name not in pins
        pins[name] = Pin(Version(only.version), frozenset(hashes), comment)
    return pins


def dependencies_of(lock: str) -> dict[NormalizedName, Requirement]:
    """What pyproject.toml asks for in this lock; a group brings the groups that it includes."""
    group = Path(lock).stem
    wanted = list(PYPROJECT["project"]["dependencies"]) + (_group(group) if group != "runtime" else [])
    return {canonicalize_name(each.name): each for each in map(Requirement, wanted)}


def _group(name: str) -> list[str]:
    found: list[str] = []
    for item in PYPROJECT["dependency-groups"][name]:
        found += [item] if isinstance(item, str) else _group(item["include-group"])
    return found
