"""A machine that is up, or coming up: boot, follow, tell of the end, again if its restart policy says so.

Who orders that, and what orders meet each other, is in `flyd`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localfly import exit_events, machine_config
from localfly.backend import ImageMissing, LaunchFailed

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from localfly.backend import Backend, Exit, Workload
    from localfly.machine_changes import MachineChanges
    from localfly.machine_config import StopSteps
    from localfly.machine_lines import MachineLines
    from localfly.machine_record import Machine
    from localfly.settings import Settings
    from localfly.store import Store

MAX_RETRIES = 10
"""Restarts after a failure when the configuration names no number."""

COMING_UP = ("created", "starting", "replacing")


@dataclass(frozen=True)
class Host:
    """What every run works with."""

    store: Store
    backend: Backend
    settings: Settings
    lines: MachineLines
    changes: MachineChanges


class Run:
    """From one launch to the last end that follows from it.

    `again`: the end leads to another launch; `untold`: to nothing. `task` is what carries the run out.
    """

    def __init__(self, host: Host, machine: Machine, workload: Workload | None = None) -> None:
        self._host, self._machine = host, machine
        self._lines, self._changes = host.lines, host.changes
        self.workload = workload
        self.task: asyncio.Task[None] | None = None
        self.requested_stop = self.again = self.untold = False
        self._abort = asyncio.Event()
        self._down = asyncio.Event()

    async def live(self) -> None:
        workload = self.workload or await self._boot()
        while workload is not None:
            end = await workload.ended()
            self.workload = None
            self._down.set()
            self._lines.flush(self._machine)
            again = not self.untold and self._goes_on(end)
            if not self.untold:
                self.tell_end(end, again=again)
            await workload.remove()
            workload = await self._boot() if again else None

    async def _boot(self) -> Workload | None:
        machine, settings = self._machine, self._host.settings
        self._down = asyncio.Event()
        self._lines.say(machine, "runner", f"Pulling container image {machine.config['image']}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._abort.wait(), settings.boot_delay_s)
        if self._abort.is_set():
            self._stay_down()
            return None
        launch = machine_config.launch(machine, self._host.store.machine_directory(machine))
        try:
            workload = await self._host.backend.start(launch, self._lines.sink(machine))
        except LaunchFailed as error:
            self._tell_failure(error)
            return None
        self.workload, machine.workload = workload, workload.handle
        if self._awaited():
            machine.add_event("start", "started")
            machine.enter("started")
        self._changes.tell(machine)
        if self._abort.is_set():
            await workload.kill()
        return workload

    def _awaited(self) -> bool:
        """Whether this launch is still what the machine is to come up by."""
        return self._machine.state in COMING_UP and not self._abort.is_set()

    def _stay_down(self) -> None:
        """What broke the launch off goes on with the machine, except a stop: it had nothing to stop."""
        if self._machine.state == "stopping":
            self._machine.rest_stopped("stop")
            self._changes.tell(self._machine)

    def _tell_failure(self, error: LaunchFailed) -> None:
        machine = self._machine
        what = f"pull container image {machine.config['image']}"
        if not isinstance(error, ImageMissing):
            what = "start the machine"
        self._lines.say(machine, "runner", f"Failed to {what}: {error}")
        if not self._awaited():
            self._stay_down()
            return
        machine.add_event("launch", "failed")
        machine.enter("failed")
        self._changes.tell(machine)

    def _goes_on(self, end: Exit) -> bool:
        """Fly's restart policy: https://fly.io/docs/machines/guides-examples/machine-restart-policy/."""
        machine = self._machine
        if machine.state in ("destroying", "replacing"):
            return False
        if self.again or self.requested_stop:
            return self.again
        restart = machine.config.get("restart") or {}
        policy = restart.get("policy") or "on-failure"
        if policy == "no" or (policy == "on-failure" and end.exit_code == 0):
            return False
        most = restart.get("max_retries") or MAX_RETRIES
        if policy == "on-failure" and machine.restart_count >= most:
            self._lines.say(machine, "runner", f"machine has reached its max restart count of {most}")
            return False
        machine.restart_count += 1
        return True

    def tell_end(self, end: Exit, *, again: bool) -> None:
        machine, settings = self._machine, self._host.settings
        for line in exit_events.init_lines(end):
            self._lines.say(machine, "app", line)
        self._lines.say(machine, "runner", exit_events.runner_line(end, restarting=again))
        told = exit_events.exit_request(
            end,
            settings.exit_event_shape,
            requested_stop=self.requested_stop,
            restarting=again,
            restart_count=machine.restart_count,
        )
        if told is not None:
            machine.add_event(told[0], "stopped", request=told[1])
        machine.workload = None
        if machine.state not in ("destroying", "replacing"):
            machine.launch_due = again
            machine.enter("starting" if again else "stopped")
        self._changes.tell(machine)
        self.again = self.requested_stop = False

    def taking_down(self, steps: StopSteps) -> Coroutine[Any, Any, None]:
        """What ends the workload of this moment, and no later one."""
        return _take_down(self.workload, self._down, steps)

    def break_off(self) -> None:
        """Launch nothing any more."""
        self._abort.set()

    async def end(self) -> None:
        """Kill what runs, or is about to, and wait until all is told."""
        self.break_off()
        if self.workload is not None:
            await self.workload.kill()
        await self.finished()

    async def finished(self) -> None:
        """Wait until the last workload is cleared away."""
        if self.task is not None:
            await asyncio.wait([self.task])

    @property
    def over(self) -> bool:
        return self.task is None or self.task.done()


async def _take_down(workload: Workload | None, down: asyncio.Event, steps: StopSteps) -> None:
    """Signals with the seconds to wait after each, then SIGKILL."""
    for number, patience_s in steps:
        if workload is None or down.is_set():
            return
        await workload.signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(down.wait(), patience_s)
    if workload is not None and not down.is_set():
        await workload.kill()
