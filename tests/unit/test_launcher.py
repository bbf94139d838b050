"""`./florin`: from a fresh clone to a running command, with nothing but Python, and nothing said on stdout."""

import base64
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

pytestmark = pytest.mark.slow

LAUNCHER: Final = Path(__file__).resolve().parents[2] / "florin"

COMMAND_LINE: Final = """
import json, os, sys
from importlib import metadata
print(json.dumps({
    "arguments": sys.argv[1:],
    "cwd": os.getcwd(),
    "packages": {name: metadata.version(name) for name in ("tiny", "tool") if list(metadata.distributions(name=name))},
}))
"""


class Clone:
    """A clone of a project as ours, but with two packages of our own making: no index is needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def fresh(cls, root: Path) -> "Clone":
        (root / "cli").mkdir(parents=True)
        (root / "requirements").mkdir()
        (root / "cli" / "__init__.py").touch()
        (root / "cli" / "__main__.py").write_text(COMMAND_LINE)
        shutil.copy(LAUNCHER, root)
        clone = cls(root)
        clone.lock("local", "tiny==1.0")
        clone.lock("dev", "tiny==1.0", "tool==1.0")
        return clone

    def lock(self, name: str, *pins: str) -> None:
        """Write a lock, with hashes, of packages that are made here and now."""
        lines = ["--no-index", "--find-links wheels"]
        for pin in pins:
            wheel = make_wheel(self.root / "requirements" / "wheels", *pin.split("=="))
            lines.append(f"{pin} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
        (self.root / "requirements" / f"{name}.lock").write_text("\n".join(lines) + "\n")

    def start(self, *arguments: str, cwd: Path | None = None, **environment: str | None) -> subprocess.Popen[str]:
        wanted = {**os.environ, **environment}
        return subprocess.Popen(
            [sys.executable, self.root / "florin", *arguments],
            cwd=cwd or self.root,
            env={name: value for name, value in wanted.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, cwd: Path | None = None, **environment: str | None) -> "Run":
        return Run(self.start(*arguments, cwd=cwd, **environment))


class Run:
    """How a start ended: what it said, and what the command line saw."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.stdout, self.stderr = process.communicate(timeout=120)
        self.exit_code = process.returncode

    @property
    def seen(self) -> dict[str, object]:
        assert self.exit_code == 0, self.stderr
        seen: dict[str, object] = json.loads(self.stdout)
        return seen


@pytest.fixture(scope="module")
def first_starts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, list[Run]]:
    """A clone that was started twice at once when nothing was installed."""
    clone = Clone.fresh(tmp_path_factory.mktemp("a clone") / "florin's")  # People do have such folders.
    return clone, [Run(process) for process in [clone.start("up"), clone.start("up")]]


@pytest.fixture(scope="module")
def installed(first_starts: tuple[Clone, list[Run]]) -> Clone:
    """A clone that has run."""
    clone, runs = first_starts
    assert all(run.seen["packages"] == {"tiny": "1.0"} for run in runs)
    return clone


def test_a_later_start_says_nothing_and_passes_everything_on(installed: Clone, tmp_path: Path) -> None:
    """Arguments are the user's, paths in them are relative to where the user stands, stdout is the command's."""
    later = installed.run("up", "--data-dir", "here", "-x", "--", "a b", cwd=tmp_path)

    assert later.stderr == ""
    assert later.seen == {
        "arguments": ["up", "--data-dir", "here", "-x", "--", "a b"],
        "cwd": str(tmp_path),
        "packages": {"tiny": "1.0"},
    }


@pytest.mark.parametrize("path", [None, "."], ids=["where the user stands", "in PYTHONPATH"])
def test_a_folder_named_like_a_module_of_ours_is_not_run(installed: Clone, tmp_path: Path, path: str | None) -> None:
    """`./florin` from a directory of another project runs Florin."""
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__main__.py").write_text("print('not ours')")
    (tmp_path / "cli" / "__init__.py").touch()

    assert installed.run("up", cwd=tmp_path, PYTHONPATH=path).seen["arguments"] == ["up"]


def test_development_tools_come_when_a_command_needs_them_and_then_stay(tmp_path: Path) -> None:
    """Who only wants to see it run does not wait for them; who has them does not install twice."""
    clone = Clone.fresh(tmp_path)

    assert clone.run("test", "-k", "up").seen["packages"] == {"tiny": "1.0", "tool": "1.0"}
    assert clone.run("up").stderr == ""
    assert clone.run("check").stderr == ""


def test_a_changed_lock_is_installed(installed: Clone) -> None:
    """After `git pull` the next start is right, without a word to remember."""
    installed.lock("local", "tiny==2.0")
    changed = installed.run("up")

    assert changed.seen["packages"] == {"tiny": "2.0"}
    assert installed.run("up").stderr == ""


def test_a_failed_installation_is_explained_and_tried_again(installed: Clone) -> None:
    """pip's own last words, and what to do; stdout stays empty for whoever reads JSON from it."""
    lock = installed.root / "requirements" / "local.lock"
    good = lock.read_text()
    installed.lock("local", "tiny==3.0")
    lock.write_text(re.sub("[0-9a-f]{64}", "0" * 64, lock.read_text()))
    failed = installed.run("up", "--json")

    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "DO NOT MATCH" in failed.stderr
    assert "PIP_INDEX_URL" in failed.stderr
    assert installed.run("up").exit_code == 1

    lock.write_text(good)
    repaired = installed.run("up")
    assert repaired.exit_code == 0
    assert "installing" in repaired.stderr  # Who knows what the failed one has replaced.


def test_an_interrupted_installation_is_done_again(installed: Clone) -> None:
    """Nothing says 'installed' before pip has ended, so a start that was killed is repaired by the next."""
    stamp = installed.root / ".venv" / "florin-local.stamp"
    stamp.write_text(stamp.read_text()[:10])

    assert "installing" in installed.run("up").stderr
    assert installed.run("up").stderr == ""


@pytest.mark.parametrize("damage", ["bin/activate", "bin/python"])
def test_a_damaged_environment_is_made_anew(installed: Clone, damage: str) -> None:
    """The environment was killed while it was made (activate comes last), or its Python was uninstalled."""
    for stamp in (installed.root / ".venv").glob("*.stamp"):
        stamp.unlink()
    (installed.root / ".venv" / damage).unlink()
    repaired = installed.run("up")

    assert "making" in repaired.stderr
    assert repaired.exit_code == 0


def test_an_exchanged_python_is_noticed(installed: Clone) -> None:
    """After an upgrade of the system, python3 may be another version, which does not see what the old one had."""
    stamp = installed.root / ".venv" / "florin-local.stamp"
    python = os.path.realpath(installed.root / ".venv" / "bin" / "python")
    stamp.write_text(stamp.read_text().replace(python, "/usr/bin/python3.0"))

    assert "installing" in installed.run("up").stderr


def test_the_python_of_another_environment_is_not_used(installed: Clone, tmp_path: Path) -> None:
    """pip would change that one instead of ours."""
    log = tmp_path / "log"
    python = installed.root / ".venv" / "bin" / "python"
    python.unlink()
    pretend = f"""exec '{sys.executable}' -c "import sys; sys.prefix = '/elsewhere'; exec(sys.argv[1])" "$2" """
    script(python, f'[ "$1" = -c ] && {pretend}\necho "$*" >> {log}\nexit 1')
    (installed.root / ".venv" / "florin-local.stamp").unlink()

    assert "making" in installed.run("up").stderr
    assert not log.exists()


def test_an_environment_that_somebody_else_made_is_used(installed: Clone) -> None:
    """Whoever made .venv by hand keeps what they installed there."""
    for stamp in (installed.root / ".venv").glob("*.stamp"):
        stamp.unlink()
    adopted = installed.run("up")

    assert "making" not in adopted.stderr
    assert adopted.exit_code == 0


def test_a_moved_clone_makes_its_environment_anew(installed: Clone, tmp_path: Path) -> None:
    """A virtual environment has its place written into it."""
    moved = Clone(Path(shutil.copytree(installed.root, tmp_path / "after", symlinks=True)))
    run = moved.run("up")

    assert run.exit_code == 0
    assert f"making {tmp_path / 'after'}" in run.stderr


def test_two_first_starts_at_once_install_once(first_starts: tuple[Clone, list[Run]]) -> None:
    """Two terminals, or an editor and a terminal."""
    _, runs = first_starts

    assert [run.exit_code for run in runs] == [0, 0]
    assert sum("making" in run.stderr for run in runs) == 1
    assert sum("installing requirements/local.lock" in run.stderr for run in runs) == 1


@pytest.mark.parametrize("home", [None, "", "/nonexistent/home"], ids=["unset", "empty", "missing"])
def test_no_home_is_needed(installed: Clone, home: str | None) -> None:
    """Services and containers often have none."""
    (installed.root / ".venv" / "florin-local.stamp").unlink()
    run = installed.run("up", HOME=home)

    assert run.exit_code == 0, run.stderr


def test_an_empty_home_is_not_the_root_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip would put its cache into /.cache."""
    monkeypatch.setenv("HOME", "")

    assert load_launcher().pip_environment()["HOME"] == pwd.getpwuid(os.getuid()).pw_dir


def test_an_older_python_looks_for_a_newer_one(tmp_path: Path) -> None:
    """What python3 means is often not the user's choice. Version managers' stubs, which only fail, are passed over."""
    clone = Clone.fresh(tmp_path)
    outdate(clone)
    path = tmp_path / "bin"
    script(path / "python3.13", "exit 127")
    script(path / "python3.12", 'if [ "$1" != -c ]; then echo "newer: $*"; fi')
    run = clone.run("up", "--json", PATH=f"{path}:/usr/bin:/bin")

    assert run.stdout == f"newer: {tmp_path / 'florin'} up --json\n"


def test_an_older_python_alone_is_told_so(tmp_path: Path) -> None:
    """A traceback about syntax would not help anybody."""
    clone = Clone.fresh(tmp_path)
    outdate(clone)
    run = clone.run("up", PATH=str(tmp_path))

    assert (run.exit_code, run.stdout) == (1, "")
    assert "Florin needs Python 3.11 or newer" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_package_that_has_it(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Debian splits Python up, and its python3 alone cannot make virtual environments."""
    launcher = load_launcher()
    monkeypatch.setattr(launcher, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SystemExit) as stop:
        launcher.make_environment()

    assert stop.value.code == 1
    assert "apt-get install python3-venv" in capsys.readouterr().err


def load_launcher() -> ModuleType:
    loader = SourceFileLoader("launcher", str(LAUNCHER))
    spec = spec_from_loader("launcher", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def outdate(clone: Clone) -> None:
    """Make the Python that runs the tests too old for the launcher."""
    launcher = clone.root / "florin"
    launcher.write_text(launcher.read_text().replace("OLDEST = (3, 11)", "OLDEST = (4, 0)"))


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make_wheel(folder: Path, name: str, version: str) -> Path:
    """Write the smallest wheel that pip accepts."""
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
