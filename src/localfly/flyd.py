"""What Fly's host daemon is told to do with machines: launch, stop, restart, replace, destroy.

What a machine does while it is up is in `machine_run`; requests and their refusals are in the `*_api`
modules, waiting in `waits`, forged ends in `control`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from localfly import machine_config
from localfly.backend import Backend, Exit, Workload
from localfly.machine_run import Run

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from localfly.machine_config import StopSteps
    from localfly.machine_record import Machine
    from localfly.machine_run import Host

_log = logging.getLogger("localfly")


class Flyd:
    """The machines of one localfly. Orders return at once; what they lead to happens in the background."""

    def __init__(self, host: Host) -> None:
        self._host, self._settings = host, host.settings
        self._store, self._lines, self._changes = host.store, host.lines, host.changes
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def backend(self) -> Backend:
        return self._host.backend

    def workload_of(self, machine: Machine) -> Workload | None:
        """What runs in a machine now."""
        run = self._runs.get(machine.id)
        return run.workload if run is not None else None

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a machine's task broke", exc_info=error)

    # Orders.

    def launch(self, machine: Machine) -> None:
        """Bring a created, stopped or replaced machine up."""
        machine.launch_due = True
        self._carry_out(machine, Run(self._host, machine))

    def _carry_out(self, machine: Machine, run: Run) -> None:
        last, self._runs[machine.id] = self._runs.get(machine.id), run
        run.task = self._background(self._live(machine, run, last))

    async def _live(self, machine: Machine, run: Run, last: Run | None) -> None:
        if last is not None:
            await last.finished()
        await run.live()
        if machine.state == "stopped" and machine.config.get("auto_destroy"):
            self._background(self._destroy(machine, None))

    def stop(self, machine: Machine, steps: StopSteps) -> None:
        """End a machine that is up or coming up; any other stays as it is."""
        run = self._runs.get(machine.id)
        if run is None or machine.state not in ("created", "starting", "started"):
            return
        run.requested_stop = True
        if run.workload is None:
            run.break_off()
        self._begin(machine, "stop", "stopping")
        self._background(run.taking_down(steps))

    def restart(self, machine: Machine, steps: StopSteps) -> None:
        """Stop and start again; the machine stays the same version."""
        run = self._runs.get(machine.id)
        if run is None or machine.state != "started":
            return
        run.again = run.requested_stop = True
        self._begin(machine, "restart", "stopping", "restarting")
        self._background(run.taking_down(steps))

    def replace(self, machine: Machine, *, skip_launch: bool) -> None:
        """A new version was recorded: reboot a running machine into it, leave any other stopped."""
        run = self._runs.get(machine.id)
        if machine.state != "replacing":
            machine.launch_due = run is not None and not run.over and machine.state != "stopping"
        machine.launch_due &= not skip_launch
        self._begin(machine, "update", "replacing")
        self._background(self._reboot(machine))

    async def _reboot(self, machine: Machine) -> None:
        version, run = machine.instance_id, self._runs.get(machine.id)
        if run is not None:
            run.requested_stop = True
            await run.end()
        if machine.state != "replacing" or machine.instance_id != version:
            return  # destroyed meanwhile, or the next version's turn
        if machine.launch_due:
            self.launch(machine)
            return
        machine.rest_stopped("update")
        self._changes.tell(machine)

    def destroy(self, machine: Machine) -> None:
        """Kill what runs and forget the machine."""
        if machine.state in ("destroying", "destroyed"):
            return
        self._begin(machine, "destroy", "destroying")
        self._background(self._destroy(machine, self._runs.get(machine.id)))

    async def _destroy(self, machine: Machine, run: Run | None) -> None:
        if machine.state != "destroying":
            machine.add_event("destroy", "destroying")
            machine.enter("destroying")
            self._changes.tell(machine)
        if run is not None:
            run.requested_stop = True
            await run.end()
        await asyncio.sleep(self._settings.destroy_delay_s)
        machine.add_event("destroy", "destroyed")
        machine.destroyed_at = time.time()
        machine.enter("destroyed")
        self._runs.pop(machine.id, None)
        self._lines.close(machine)
        self._store.remove_disk(machine)
        self._changes.tell(machine)

    def _begin(self, machine: Machine, kind: str, status: str, state: str = "") -> None:
        machine.add_event(kind, status, "user")
        machine.enter(state or status)
        self._changes.tell(machine)

    async def end_untold(self, machine: Machine) -> None:
        """Kill what runs without a word about it: the caller tells another story."""
        run = self._runs.pop(machine.id, None)
        if run is not None:
            run.untold = True
            await run.end()
        machine.workload = None

    # This process's own life.

    async def resume(self) -> None:
        """After a restart: find what still runs, tell of what ended meanwhile, finish what was begun."""
        for machine in list(self._store.machines.values()):
            if machine.workload is not None:
                await self._find(machine, machine.workload)
            elif machine.state == "stopping":
                machine.rest_stopped("stop")
                self._changes.tell(machine)
            if machine.state == "replacing":
                self._background(self._reboot(machine))
            elif machine.state in ("created", "starting") and machine.launch_due:
                self.launch(machine)
            ended = machine.state == "stopped" and machine.config.get("auto_destroy")
            if ended or machine.state == "destroying":
                self._background(self._destroy(machine, self._runs.get(machine.id)))

    async def _find(self, machine: Machine, handle: dict[str, Any]) -> None:
        """Go on with a workload of an earlier localfly, or tell that it is lost."""
        launch = machine_config.launch(machine, self._store.machine_directory(machine))
        sink, cursor = self._lines.sink(machine), self._lines.cursor(machine)
        workload = await self.backend.attach(handle, launch, sink, cursor)
        run = Run(self._host, machine, workload)
        run.again = machine.state == "restarting"
        run.requested_stop = machine.state in ("stopping", "restarting", "replacing", "destroying")
        if workload is None:
            run.tell_end(Exit(137, 9, error="the workload did not survive"), again=run.again)
            return
        self._carry_out(machine, run)
        if machine.state in ("stopping", "restarting"):
            steps = machine_config.stop_steps(machine.config.get("stop_config") or {})
            self._background(run.taking_down(steps))

    async def close(self) -> None:
        """End every workload (unless the setting keeps them) without changing what the records say."""
        runs = list(self._runs.values())
        await _cancel(self._tasks - {run.task for run in runs})
        if not self._settings.keep_machines:
            for run in runs:
                run.untold = True
            await asyncio.gather(*(run.end() for run in runs))
        await _cancel(self._tasks)
        await self.backend.close()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
