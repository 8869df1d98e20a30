"""The kernel's counter of kills for memory, on the kinds of machine there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flaude_guest.memory import oom_kills

if TYPE_CHECKING:
    from pathlib import Path

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
        "nothing",
        "garbage",
    ],
)
def test_the_best_counter_is_read(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    """Our control group's counter counts, else the machine's; where there is none it is 0."""
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert oom_kills(tmp_path) == kills
