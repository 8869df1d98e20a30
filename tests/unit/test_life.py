"""What is learned of a run: whose clock a stop is told by, and the seconds of its phases in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from flaude_action.evidence import OwnStop
from flaude_action.guest_link import Status
from flaude_action.guest_work import GuestWork
from flaude_action.life import Clock, Life
from flaude_action.machine_config import MachineConfig
from flaude_action.machine_history import History
from flaude_action.verdict import judge

NOW = 1_800_000_000.0
GOOD = {"ok": True, "exit_code": 0, "error": None}


def life(behind_s: float | None, result_at: float, stopped_at: float) -> Life:
    """A run with a good result at a time of the machine's clock, stopped by us at a time of ours."""
    result = {**GOOD, "finished_at": result_at, "agent": {"result_at": result_at}}
    nobody: Any = None
    work = GuestWork(nobody, {}, Path(), lambda _: None)
    work.status, work.clock_behind_s = Status(9, "hold", {}, result), behind_s
    stop = OwnStop("cancelled", stopped_at)
    return Life(nobody, nobody, MachineConfig(), Clock(), ours=True, work=work, own_stop=stop)


@pytest.mark.parametrize(
    ("behind_s", "result_at", "stopped_at", "conclusion"),
    [
        (0.0, NOW, NOW + 1, "success"),
        (0.0, NOW, NOW - 1, "cancelled"),
        (None, NOW, NOW + 1, "success"),
        (3600.0, NOW - 3600, NOW + 1, "success"),
        (3600.0, NOW - 3600, NOW - 1, "cancelled"),  # by the bare numbers it would be an hour older
        (-3600.0, NOW + 3600, NOW + 1, "success"),  # by the bare numbers it would be an hour younger
        (-3600.0, NOW + 3600, NOW - 1, "cancelled"),
    ],
)
def test_a_wrong_clock_decides_nothing(
    behind_s: float | None, result_at: float, stopped_at: float, conclusion: str
) -> None:
    """Whether the result or our stop came first is told by one clock, however wrong the machine's is."""
    evidence = life(behind_s, result_at, stopped_at).evidence(History())
    assert judge(evidence).conclusion == conclusion


def test_phases_come_in_the_order_they_happen() -> None:
    """Ours and the guest's; a phase that has not ended, or that nobody knows, has no seconds."""
    clock = Clock()
    for phase in ("logs", "destroy", "boot", "create"):
        clock.seconds[phase] = 1.0
    times = {
        "agent": [NOW + 2, NOW + 5.5],
        "waiting": [NOW, NOW + 1],
        "setup": [NOW + 1, NOW + 2],
        "hold": [NOW + 6, None],
        "elsewhere": [NOW, NOW + 9],
    }
    seconds = clock.phases(cast("dict[str, list[float | None]]", times))
    assert list(seconds.items()) == [
        ("create", 1.0), ("boot", 1.0), ("setup", 1.0), ("agent", 3.5), ("destroy", 1.0), ("logs", 1.0)
    ]  # fmt: skip


def test_a_machine_that_never_ran_cost_no_time() -> None:
    """Its seconds are unknown, not zero."""
    clock = Clock()
    clock.machine_destroyed()
    assert clock.ran_s is None
    clock.machine_started()
    clock.machine_destroyed()
    assert clock.ran_s is not None
