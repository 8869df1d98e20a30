"""A control group of the work's own: it cannot take the memory and the processes that we need.

Where root may not make one, as in a container, only the scores of `memory` decide whom the kernel kills. Both
versions of the kernel's interface are spoken.
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/cgroups.html
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Iterator

from flaude_guest.memory import ROOT, WORK_GROUP, machine_bytes, own_folders

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_MIN_BYTES, RESERVE_MAX_BYTES = 64 << 20, 256 << 20
"""What is kept back of the memory: the supervisor and a verb or two take some 60 MB."""
RESERVE_TASKS = 64
"""Processes and threads that the work cannot have."""

_UNIFIED = ("memory", "pids")


class ControlGroup:
    """`entered` puts what is started inside it into the group, with all that it starts in turn."""

    def __init__(self, ways: list[tuple[Path, Path]]) -> None:
        self._ways = ways

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """For the main thread only. A child is born where its parent is, so no fork can escape.

        The supervisor itself is inside for as long as a fork takes, while none of the work runs.
        """
        with contextlib.ExitStack() as back:
            for inside, outside in self._ways:
                if _moved(inside):  # else the work goes on without; the scores are left
                    back.callback(_moved, outside)
            yield


def _moved(procs: Path) -> bool:
    """Whether we are in that group now. A failure must not reach whoever has just started a process."""
    try:
        procs.write_text("0", "ascii")
    except OSError:
        return False
    return True


def make(root: Path = ROOT) -> ControlGroup | None:
    """The group, bounded and empty; None where there can be none.

    A kill takes one process and not the whole group: a tool that eats too much is the tool's failure.
    """
    memory = machine_bytes(root)
    most = {
        "memory": memory - min(max(memory // 8, RESERVE_MIN_BYTES), RESERVE_MAX_BYTES),
        "pids": _tasks(root) - RESERVE_TASKS,
    }
    if min(most.values()) <= 0:
        return None
    ways = _unified(root, most) or _each(root, most)
    return ControlGroup(ways) if ways else None


def _unified(root: Path, most: dict[str, int]) -> list[tuple[Path, Path]]:
    """Version 2: one group for both. Above it may be no process but where the root of all groups is."""
    for own in own_folders("", "", root):
        try:
            if not {*_UNIFIED} <= {*(own / "cgroup.controllers").read_text("ascii").split()}:
                continue
            rest = _give_on(own)
            work = own / WORK_GROUP
            work.mkdir(exist_ok=True)
            (work / "memory.max").write_text(str(most["memory"]), "ascii")
            (work / "pids.max").write_text(str(most["pids"]), "ascii")
        except OSError:
            continue
        return [(work / "cgroup.procs", rest / "cgroup.procs")]
    return []


def _give_on(own: Path) -> Path:
    """Let groups below `own` be bounded; returns the group that its processes are in then."""
    wanted = " ".join("+" + name for name in _UNIFIED)
    try:
        (own / "cgroup.subtree_control").write_text(wanted, "ascii")
    except OSError:
        rest = own / "flaude-rest"
        rest.mkdir(exist_ok=True)
        for pid in (own / "cgroup.procs").read_text("ascii").split():
            (rest / "cgroup.procs").write_text(pid, "ascii")
        (own / "cgroup.subtree_control").write_text(wanted, "ascii")
        return rest
    return own


def _each(root: Path, most: dict[str, int]) -> list[tuple[Path, Path]]:
    """Version 1: a group in each controller's hierarchy, entered by the one thread that forks."""
    ways = []
    for controller, bound in (("memory", "memory.limit_in_bytes"), ("pids", "pids.max")):
        for own in own_folders(controller, controller, root):
            try:
                if not (own / "tasks").exists():
                    continue
                work = own / WORK_GROUP
                work.mkdir(exist_ok=True)
                (work / bound).write_text(str(most[controller]), "ascii")
            except OSError:
                continue
            ways.append((work / "tasks", own / "tasks"))
            break
    return ways


def _tasks(root: Path) -> int:
    """How many processes and threads there may be on the machine, by whichever limit comes first."""
    files = [root / "proc/sys/kernel/pid_max", root / "proc/sys/kernel/threads-max"]
    for hierarchy, controller in (("pids", "pids"), ("", "")):
        files += [own / "pids.max" for own in own_folders(hierarchy, controller, root)]
    found = []
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # not there, or `max`
            found.append(int(file.read_text("ascii")))
    return min(found, default=0)
