"""What the tests ask about processes, also about those that are not our children."""

from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether the process still does anything. A zombie that nobody reaps does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command_line(pid: int) -> str:
    """What everybody on this machine can read about the process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
