"""Memory on the kinds of machine there are: the counter of kills, the bounds of the work, who goes first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flaude_guest import control_group, memory
from flaude_guest.memory import machine_bytes, oom_kills
from flaude_guest.processes import Processes
from flaude_guest.record import Wake

if TYPE_CHECKING:
    from collections.abc import Iterator

V2 = {
    "proc/self/cgroup": "0::/app\n",
    "sys/fs/cgroup/app/memory.events": "oom 3\noom_kill 2\noom_group_kill 0\n",
}
V2_OWN = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.events": "low 0\noom_kill 4\n"}
V1 = {
    "proc/self/cgroup": "9:cpu,cpuacct:/a\n4:memory:/docker/x\n",
    "sys/fs/cgroup/memory/docker/x/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
}
V1_OWN = {
    "proc/self/cgroup": "4:memory:/docker/x\n",
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\noom_kill 6\n",
}
MACHINE = {"proc/self/cgroup": "0::/\n", "proc/vmstat": "nr_free_pages 1\noom_kill 7\n"}
BOTH = {**V2, **MACHINE, "proc/self/cgroup": "0::/app\n"}


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        (V2, 2),
        (V2_OWN, 4),
        (V1, 5),
        (V1_OWN, 6),
        (MACHINE, 7),
        (BOTH, 2),
        ({**V2, "sys/fs/cgroup/app/flaude-work/memory.events": "oom_kill 1\n"}, 2),
        ({**MACHINE, "sys/fs/cgroup/flaude-work/memory.events": "oom_kill 1\n"}, 1),
        ({**V1, "sys/fs/cgroup/memory/docker/x/flaude-work/memory.oom_control": "oom_kill 3\n"}, 8),
        ({}, 0),
        ({"proc/vmstat": "oom_kill x\n"}, 0),
    ],
    ids=[
        "v2",
        "v2 of a container",
        "v1",
        "v1 of a container",
        "no cgroup",
        "cgroup first",
        "v2, the work's group",
        "v2, the machine's root and the work's group",
        "v1, the work's group",
        "nothing",
        "garbage",
    ],
)
def test_the_best_counter_is_read(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    """Our control group's counter counts, else the machine's; where there is none it is 0."""
    assert oom_kills(machine(tmp_path, files)) == kills


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


GIB = {"proc/meminfo": "MemTotal:        1048576 kB\nMemFree: 1 kB\n"}
TASKS = {"proc/sys/kernel/pid_max": "32768\n", "proc/sys/kernel/threads-max": "8000\n"}
FLY = {
    **GIB,
    **TASKS,
    "proc/self/cgroup": "4:memory:/\n3:pids:/\n0::/\n",
    "sys/fs/cgroup/memory/tasks": "1\n",
    "sys/fs/cgroup/memory/memory.stat": "hierarchical_memory_limit 9223372036854771712\n",
    "sys/fs/cgroup/pids/tasks": "1\n",
}
UNIFIED = {
    **GIB,
    **TASKS,
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
    "sys/fs/cgroup/cgroup.procs": "1\n",
}


@pytest.mark.parametrize(
    ("files", "mib"),
    [
        (GIB, 1024),
        (FLY, 1024),
        ({**FLY, "sys/fs/cgroup/memory/memory.stat": "hierarchical_memory_limit 536870912\n"}, 512),
        ({**UNIFIED, "sys/fs/cgroup/memory.max": "max\n"}, 1024),
        ({**UNIFIED, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "268435456\n"}, 256),
        ({}, 0),
    ],
    ids=["machine", "no limit", "v1", "v2 without limit", "v2", "nothing"],
)
def test_how_much_memory_there_is(tmp_path: Path, files: dict[str, str], mib: int) -> None:
    """The machine's, or what a control group allows of it."""
    assert machine_bytes(machine(tmp_path, files)) == mib << 20


def test_the_works_group_of_the_first_version(tmp_path: Path) -> None:
    """Memory and processes are bounded each in its hierarchy; who forks goes in and comes back."""
    group = control_group.make(machine(tmp_path, FLY))
    assert group is not None
    below = tmp_path / "sys/fs/cgroup"
    assert (below / "memory/flaude-work/memory.limit_in_bytes").read_text() == str(896 << 20)
    assert (below / "pids/flaude-work/pids.max").read_text() == "7936"
    tasks = [below / name / "tasks" for name in ("memory/flaude-work", "pids/flaude-work", "memory", "pids")]
    with group.entered():
        assert [file.read_text() for file in tasks] == ["0", "0", "1\n", "1\n"]
    assert [file.read_text() for file in tasks] == ["0"] * 4


def test_the_works_group_of_the_second_version(tmp_path: Path) -> None:
    """One group has both bounds."""
    group = control_group.make(machine(tmp_path, UNIFIED))
    assert group is not None
    work = tmp_path / "sys/fs/cgroup/flaude-work"
    assert (tmp_path / "sys/fs/cgroup/cgroup.subtree_control").read_text() == "+memory +pids"
    assert (work / "memory.max").read_text() == str(896 << 20)
    assert (work / "pids.max").read_text() == "7936"
    with group.entered():
        assert (work / "cgroup.procs").read_text() == "0"
    assert (tmp_path / "sys/fs/cgroup/cgroup.procs").read_text() == "0"


def test_a_way_back_that_is_closed_is_no_error(tmp_path: Path) -> None:
    """Whoever has started a process in the group must go on to attend to it."""
    group = control_group.make(machine(tmp_path, UNIFIED))
    assert group is not None
    with group.entered():
        (tmp_path / "sys/fs/cgroup/cgroup.procs").unlink()
        (tmp_path / "sys/fs/cgroup/cgroup.procs").mkdir()


def test_where_no_group_can_be_made(tmp_path: Path) -> None:
    """Without control groups, or without knowing the machine's size, the work goes on without."""
    assert control_group.make(machine(tmp_path / "a", {**GIB, **TASKS})) is None
    assert control_group.make(tmp_path / "b") is None


@pytest.fixture
def score() -> Iterator[int]:
    before = Path("/proc/self/oom_score_adj").read_text()
    yield int(before)
    Path("/proc/self/oom_score_adj").write_text(before)


@pytest.mark.parametrize("ours", [False, True])
def test_who_goes_first(score: int, ours: bool) -> None:
    """The work and what it starts are the kernel's first choice; what we run ourselves is as it was."""
    said = bytearray()
    show = "cat /proc/self/oom_score_adj; (setsid sh -c 'cat /proc/self/oom_score_adj')"
    ended = Processes(Wake()).run(
        ("/bin/sh", "-c", show), who=None, cwd=Path("/"), env=dict(os.environ), out=said.extend, ours=ours
    )
    assert ended.ok
    assert set(bytes(said).split()) == {b"0" if ours else b"1000"}
    assert Path("/proc/self/oom_score_adj").read_text().strip() == str(score)


def test_who_may_not_change_scores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a score cannot be set the command runs all the same."""
    monkeypatch.setattr(memory, "_SCORE", Score(tmp_path / "score"))
    memory.be_killed_last()
    assert Processes(Wake()).run(("/bin/true",), who=None, cwd=Path("/"), env={}).ok


class Score:
    """A file that may be read and not be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text("0\n")

    def read_text(self, _encoding: str) -> str:
        return self._path.read_text()

    def write_text(self, *_: str) -> int:
        raise PermissionError
