"""Many runs, one after another, that end in every way a run can end; then look for anything left behind.

The real main and post verbs, real guests as processes on localfly, the real Claude Code; a scripted model.
Looked for: machines that are not destroyed, processes of a machine or a step, files that localfly keeps open.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.step import Stage, bash, script, stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TURNS = script(bash("echo done > answer.txt; sleep 4 & sleep 3"), "Done.")
LOOKS, PAUSE_S = 100, 0.1


@dataclass
class Found:
    """What the runs came to, and what was left behind, in words."""

    endings: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)


async def soak(runs: int, folder: Path) -> Found:
    """Run `runs` steps with `folder` as their place; a leak is told with the run after which it was seen."""
    found = Found()
    async with stage(folder, TURNS) as here:
        open_files = 0
        for number, (name, ending) in enumerate(islice(cycle(ENDINGS.items()), runs), 1):
            conclusion = await ending(here)
            found.endings[f"{name}: {conclusion}"] += 1
            found.leaks += [f"run {number} ({name}): {left}" for left in await _left_behind(here)]
            if number == len(ENDINGS):
                open_files = _open_files(here.fly.pid)
        # A connection or two may be on its way out; a leak grows with the runs.
        if open_files and (now := _open_files(here.fly.pid)) > open_files + 4:
            found.leaks.append(f"localfly has {now} open files, after the first runs it had {open_files}")
    return found


async def _success(here: Stage) -> str:
    return (await here.step()).outputs["conclusion"]


async def _cancelled(here: Stage) -> str:
    running = await here.start()
    await running.until("Claude Code is at work")
    running.signal(signal.SIGINT)
    return (await running.ended()).outputs["conclusion"]


async def _machine_dies(here: Stage) -> str:
    running = await here.start()
    await running.until("Claude Code is at work")
    (machine,) = await here.machines_left()
    await here.fly.kill(machine)
    return (await running.ended()).outputs["conclusion"]


async def _create_answer_is_lost(here: Stage) -> str:
    await here.fly.fault("/machines$", "POST", action="lose_answer")
    return (await here.step()).outputs["conclusion"]


async def _step_is_killed(here: Stage) -> str:
    """The step dies without a word; post is all that is left."""
    running = await here.start()
    await running.until("Claude Code is at work")
    running.signal(signal.SIGKILL)
    await running.ended()
    await running.post()
    return "post"


ENDINGS: dict[str, Callable[[Stage], Awaitable[str]]] = {
    "success": _success,
    "cancelled": _cancelled,
    "machine dies": _machine_dies,
    "create answer is lost": _create_answer_is_lost,
    "step is killed": _step_is_killed,
}


async def _left_behind(here: Stage) -> list[str]:
    """Machines and processes that are still there after the time that ending may take."""
    left: list[str] = []
    for _ in range(LOOKS):
        left = [f"machine {machine}" for machine in await here.machines_left()]
        left += processes_of((here.folder, here.fly.state))
        if not left:
            break
        await asyncio.sleep(PAUSE_S)
    return left


def processes_of(folders: tuple[Path, ...]) -> list[str]:
    """What runs with one of these folders in its environment; localfly itself has none there."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # it has ended, or is not ours to look at
        if any(bytes(folder) in environment for folder in folders):
            left.append(f"process {process.name} {command.strip()}")
    return left


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    # The steps' own logs would bury the result.
    with tempfile.TemporaryDirectory(prefix="flaude-soak-") as folder, contextlib.redirect_stdout(None):
        found = asyncio.run(soak(options.runs, Path(folder)))
    for ending, times in sorted(found.endings.items()):
        print(f"{times:5} {ending}")
    print("\n".join(found.leaks) or "Nothing was left behind.")
    sys.exit(1 if found.leaks else 0)


if __name__ == "__main__":
    main()
