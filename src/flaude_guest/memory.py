"""What the kernel does when memory runs out: how much there is, whom it kills first, how often it has killed.

Kills are counted, not read from a log: the difference between two readings says whether one happened in
between. The room that the work has is `control_group`'s.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator

ROOT = Path("/")
WORK_GROUP = "flaude-work"
"""The control group of the work, below our own; `control_group` makes it."""
EXPENDABLE, EQUAL, LAST = 1000, 0, -1000
"""Scores of the work, of what we run ourselves, of the supervisor: the higher one is killed first."""

_SCORE = Path("/proc/self/oom_score_adj")


class Kills:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._before = oom_kills()

    def since(self) -> int:
        return max(0, oom_kills() - self._before)


def be_killed_last() -> None:
    """Let the kernel take everything else first. Without CAP_SYS_RESOURCE we stay equal to what we run."""
    _score(LAST)


@contextlib.contextmanager
def scored(score: int) -> Iterator[None]:
    """What is started inside has this score from its first moment on: a child's is its parent's at the fork.

    Nothing has to run between fork and exec, which threads forbid, and where we may set limits at all
    (CAP_SYS_RESOURCE) the child cannot go below. https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html
    """
    before = _SCORE.read_text("ascii").strip()
    if before == str(score):
        yield
        return
    _score(score)
    try:
        yield
    finally:
        _score(int(before))


def _score(value: int) -> None:
    with contextlib.suppress(PermissionError):
        _SCORE.write_text(str(value), "ascii")


def machine_bytes(root: Path = ROOT) -> int:
    """The memory that all of us have together: the machine's, or what our control group is allowed of it."""
    groups = _own_groups(root)
    found = [_number_after("MemTotal:", root / "proc/meminfo") * 1024]
    first = _folders(root / "sys/fs/cgroup/memory", groups.get("memory", ""))
    second = _folders(root / "sys/fs/cgroup", groups.get("", ""))
    found += [_number_after("hierarchical_memory_limit", folder / "memory.stat") for folder in first]
    found += [_number_after("", folder / "memory.max") for folder in second]
    return min((size for size in found if size), default=0)


def oom_kills(root: Path = ROOT) -> int:
    """Kills in our control group and the work's so far; on a machine without any, in the whole machine.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events),
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (memory.oom_control).
    """
    groups = _own_groups(root)
    readings = []
    for hierarchy, name, file, whole in (
        ("sys/fs/cgroup", "", "memory.events", True),
        ("sys/fs/cgroup/memory", "memory", "memory.oom_control", False),
    ):
        folders = _folders(root / hierarchy, groups.get(name, ""))
        ours = [count for count in (_count(folder / file) for folder in folders) if count is not None]
        works = [_count(folder / WORK_GROUP / file) or 0 for folder in folders]
        if ours or any(works):
            # The second version counts below a group too, the first only in the group itself.
            readings.append(max(ours + works) if whole else max(ours, default=0) + max(works))
    return max(readings) if readings else _count(root / "proc/vmstat") or 0


def own_folders(hierarchy: str, controller: str, root: Path = ROOT) -> list[Path]:
    """Where our own group may be seen below `hierarchy`; the unified hierarchy's controller is ''."""
    return _folders(root / "sys/fs/cgroup" / hierarchy, _own_groups(root).get(controller, ""))


def _folders(hierarchy: Path, own: str) -> list[Path]:
    """A container may see its own group as the top of all."""
    return [hierarchy / own, hierarchy] if own else [hierarchy]


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


def _number_after(word: str, file: Path) -> int:
    """The first number of the line that begins with `word`; 0 when there is none."""
    try:
        lines = file.read_text("ascii", "replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        first, *rest = line[len(word) :].split() or [""]
        if line.startswith(word) and first.isdigit() and rest in ([], ["kB"]):
            return int(first)
    return 0
