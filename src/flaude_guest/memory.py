"""How often the kernel killed for memory, from the best counter this machine has.

A counter, not a log text: the difference between two readings says whether it happened in between.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")


class Kills:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._before = oom_kills()

    def since(self) -> int:
        return max(0, oom_kills() - self._before)


def oom_kills(root: Path = ROOT) -> int:
    """Kills in our control group so far; on a machine without one, in the whole machine.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events),
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (memory.oom_control).
    """
    groups = _own_groups(root)
    readings = [
        _count(file)
        for file in (
            root / "sys/fs/cgroup" / groups.get("", "") / "memory.events",
            root / "sys/fs/cgroup/memory.events",
            root / "sys/fs/cgroup/memory" / groups.get("memory", "") / "memory.oom_control",
            root / "sys/fs/cgroup/memory/memory.oom_control",
        )
    ]
    known = [reading for reading in readings if reading is not None]
    if known:
        return max(known)
    return _count(root / "proc/vmstat") or 0


def _own_groups(root: Path) -> dict[str, str]:
    """Controller -> our path in its hierarchy; the unified hierarchy's controller is ''."""
    try:
        lines = (root / "proc/self/cgroup").read_text("ascii", "replace").splitlines()
    except OSError:
        return {}
    groups = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path.lstrip("/")
    return groups


def _count(file: Path) -> int | None:
    """The number after the word `oom_kill`, or None when the file has none."""
    try:
        lines = file.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        word, _, number = line.partition(" ")
        if word == "oom_kill" and number.strip().isdigit():
            return int(number)
    return None
