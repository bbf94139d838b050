"""The image holds what its processes import, and nothing else. It is read here, not built: no engine is needed."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[2]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
FINAL_STAGE: Final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
PYPROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: Final[list[str]] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
FOR_THE_REPOSITORY: Final = {"cli/bench.py"}
"""Commands that work where the repository is, and are imported only when they are asked for."""
COPIED: Final[list[str]] = re.findall(r"^COPY (?!--from)(\S+) \S+$", DOCKERFILE, re.MULTILINE)


def test_the_dockerfile_is_written_by_the_rules() -> None:
    """hadolint knows the mistakes that many have made before."""
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_in_the_image() -> None:
    """One that is new in pyproject.toml is not forgotten."""
    assert sorted(name.rstrip("/") for name in COPIED if name.endswith("/")) == sorted(PACKAGES)


def test_what_is_copied_is_let_through_and_nothing_else_is() -> None:
    """The list of what may go in starts with nothing, so that no secret, data folder or history is ever sent."""
    first, *lines = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    let_through = {line.removeprefix("!").rstrip("/") for line in lines if line.startswith("!")}

    assert first == "*"
    assert let_through == {name.split("/")[0] for name in COPIED}


def test_packages_are_installed_by_hash_and_nothing_is_compiled() -> None:
    """A file that changed under its name stops the build."""
    (install,) = re.findall(r"pip install .*", DOCKERFILE)

    assert {"--require-hashes", "--no-deps"} <= set(install.split())
    assert "--only-binary :all:" in install


def test_it_does_not_run_as_root() -> None:
    """By number, so that an orchestrator can tell."""
    (user,) = re.findall(r"^USER (\S+)$", FINAL_STAGE, re.MULTILINE)

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_no_secret_is_baked_in() -> None:
    """Whoever holds an image can read every layer and every variable of it."""
    assert not re.search(r"password|secret|token|_key", DOCKERFILE, re.IGNORECASE)
    assert "_URL" not in DOCKERFILE
    assert "ARG " not in DOCKERFILE


@pytest.mark.parametrize("package", PACKAGES)
def test_whatever_is_imported_is_installed_in_the_image(package: str) -> None:
    """The development environment has more in it, and hides what the image lacks."""
    installed = locked("local" if package == "cli" else "runtime")
    distributions = packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in FOR_THE_REPOSITORY
        for module in imported_by(path)
        if module not in sys.stdlib_module_names and module not in PACKAGES
        if not installed & {canonicalize_name(name) for name in distributions.get(module, [])}
    }

    assert not missing


def imported_by(path: Path) -> Iterator[str]:
    """The top-level names of what a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def locked(name: str) -> set[NormalizedName]:
    """The names in a lock."""
    lines = (ROOT / "requirements" / f"{name}.lock").read_text().splitlines()
    return {canonicalize_name(Requirement(line.rstrip(" \\")).name) for line in lines if re.match(r"\w", line)}
