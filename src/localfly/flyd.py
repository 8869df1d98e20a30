"""What Fly's host daemon does with machines: boot, follow, stop, restart, replace, destroy, tell of it.

Requests and their refusals are in the `*_api` modules, waiting in `waits`, forged ends in `control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localfly import exit_events, machine_config
from localfly.backend import Backend, Exit, Launch, LaunchFailed, Workload
from localfly.machine_lines import MachineLines

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from localfly.log_store import LogStore
    from localfly.machine_record import Machine
    from localfly.settings import Settings
    from localfly.store import Store

_log = logging.getLogger("localfly")

MAX_RETRIES = 10
"""Restarts after a failure when the configuration names no number."""


@dataclass
class Run:
    """A machine that is up, or coming up. `again`: its end leads to another launch; `untold`: to nothing.

    `abort` ends a boot early, `down` is set when the present launch is over.
    """

    task: asyncio.Task[None] | None = None
    workload: Workload | None = None
    abort: asyncio.Event = field(default_factory=asyncio.Event)
    down: asyncio.Event = field(default_factory=asyncio.Event)
    requested_stop: bool = False
    again: bool = False
    untold: bool = False


class Flyd:
    """The machines of one localfly. Every change is stored and told to waiters by `changed`."""

    def __init__(self, store: Store, logs: LogStore, backend: Backend, settings: Settings) -> None:
        self.store, self.backend, self.settings = store, backend, settings
        self._logs, self._lines = logs, MachineLines(logs, settings)
        self._runs: dict[str, Run] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # Changes.

    def changed(self, machine: Machine) -> None:
        self.store.save(machine)
        for waiter in self._waiters.pop(machine.id, set()):
            if not waiter.done():
                waiter.set_result(None)

    async def next_change(self, machine: Machine, timeout_s: float) -> bool:
        """Wait until something about the machine changes; False when the time is over."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(machine.id, set())
        waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter, timeout_s)
        except TimeoutError:
            return False
        finally:
            waiters.discard(waiter)
        return True

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a machine's task broke", exc_info=error)

    def run_of(self, machine: Machine) -> Run | None:
        return self._runs.get(machine.id)

    # Running.

    def launch(self, machine: Machine) -> None:
        """Bring a created or stopped machine up, in the background."""
        run = self._runs[machine.id] = Run()
        machine.launch_due = True
        run.task = self._background(self._live(machine, run))

    async def _live(self, machine: Machine, run: Run, workload: Workload | None = None) -> None:
        while True:
            workload = workload or await self._boot(machine, run)
            if workload is None:
                return
            run.workload, run.down = workload, asyncio.Event()
            end = await workload.ended()
            run.workload = None
            run.down.set()
            self._lines.flush(machine)
            if run.untold:
                await workload.remove()
                return
            moved_on = machine.state in ("destroying", "replacing")
            again = not moved_on and (run.again or self._restarts(machine, run, end))
            self._tell_end(machine, run, end, again=again)
            await workload.remove()
            workload = None
            if not again:
                break
            run.again = run.requested_stop = False
        if machine.state == "stopped" and machine.config.get("auto_destroy"):
            await self._destroy(machine, run)

    async def _boot(self, machine: Machine, run: Run) -> Workload | None:
        self._lines.say(machine, "runner", f"Pulling container image {machine.config['image']}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.abort.wait(), self.settings.boot_delay_s)
        if run.abort.is_set():
            return None
        try:
            workload = await self.backend.start(self._launch_of(machine), self._lines.sink(machine))
        except LaunchFailed as error:
            failure = f"Failed to pull container image {machine.config['image']}: {error}"
            self._lines.say(machine, "runner", failure)
            machine.add_event("launch", "failed")
            machine.enter("failed")
            self.changed(machine)
            return None
        machine.workload = workload.handle
        if machine.state != "destroying":
            machine.add_event("start", "started")
            machine.enter("started")
        self.changed(machine)
        if run.abort.is_set():
            await workload.kill()
        return workload

    def _launch_of(self, machine: Machine) -> Launch:
        return machine_config.launch(machine, self.store.machine_directory(machine))

    def _restarts(self, machine: Machine, run: Run, end: Exit) -> bool:
        """Fly's restart policy: https://fly.io/docs/machines/guides-examples/machine-restart-policy/."""
        if run.requested_stop:
            return False
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

    def _tell_end(self, machine: Machine, run: Run, end: Exit, *, again: bool) -> None:
        for line in exit_events.init_lines(end):
            self._lines.say(machine, "app", line)
        self._lines.say(machine, "runner", exit_events.runner_line(end, restarting=again))
        told = exit_events.exit_request(
            end,
            self.settings.exit_event_shape,
            requested_stop=run.requested_stop,
            restarting=again,
            restart_count=machine.restart_count,
        )
        if told is not None:
            machine.add_event(told[0], "stopped", request=told[1])
        machine.workload = None
        machine.launch_due = again
        if machine.state not in ("destroying", "replacing"):
            machine.enter("starting" if again else "stopped")
        self.changed(machine)

    # Ending.

    def stop(self, machine: Machine, steps: tuple[tuple[int, float], ...]) -> None:
        """Signals with the seconds to wait after each, then SIGKILL, in the background."""
        run = self._runs.get(machine.id)
        if run is None or machine.state != "started":
            return
        run.requested_stop = True
        machine.add_event("stop", "stopping", "user")
        machine.enter("stopping")
        self.changed(machine)
        self._background(self._stop_by(run, steps))

    async def _stop_by(self, run: Run, steps: tuple[tuple[int, float], ...]) -> None:
        down = run.down
        for number, patience_s in steps:
            if down.is_set() or run.workload is None:
                return
            await run.workload.signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(down.wait(), patience_s)
        if not down.is_set() and run.workload is not None:
            await run.workload.kill()

    def restart(self, machine: Machine, steps: tuple[tuple[int, float], ...]) -> None:
        """Stop and start again; the machine stays the same version."""
        run = self._runs.get(machine.id)
        if run is None or machine.state != "started":
            return
        run.again = run.requested_stop = True
        machine.add_event("restart", "stopping", "user")
        machine.enter("restarting")
        self.changed(machine)
        self._background(self._stop_by(run, steps))

    def replace(self, machine: Machine, *, skip_launch: bool) -> None:
        """A new version was recorded: reboot a running machine into it, leave any other stopped."""
        run = self._runs.get(machine.id)
        running = run is not None and run.task is not None and not run.task.done()
        machine.add_event("update", "replacing", "user")
        machine.enter("replacing")
        self.changed(machine)
        self._background(self._reboot(machine, run if running else None, skip_launch=skip_launch))

    async def _reboot(self, machine: Machine, run: Run | None, *, skip_launch: bool) -> None:
        if run is not None and run.task is not None:
            run.requested_stop = True
            await self._end_workload(run)
            if not skip_launch:
                self.launch(machine)
                return
        machine.add_event("update", "stopped")
        machine.enter("stopped")
        self.changed(machine)

    def destroy(self, machine: Machine) -> None:
        """Kill what runs and forget the machine, in the background."""
        if machine.state in ("destroying", "destroyed"):
            return
        machine.add_event("destroy", "destroying", "user")
        machine.enter("destroying")
        self.changed(machine)
        self._background(self._destroy(machine, self._runs.get(machine.id)))

    async def _destroy(self, machine: Machine, run: Run | None) -> None:
        if machine.state != "destroying":
            machine.add_event("destroy", "destroying")
            machine.enter("destroying")
            self.changed(machine)
        if run is not None and run.task is not asyncio.current_task():
            run.requested_stop = True
            await self._end_workload(run)
        await asyncio.sleep(self.settings.destroy_delay_s)
        machine.add_event("destroy", "destroyed")
        machine.destroyed_at = time.time()
        machine.enter("destroyed")
        self._runs.pop(machine.id, None)
        self._lines.close(machine)
        self.store.remove_root(machine)
        self._lines.close(machine)
        self.changed(machine)

    async def _end_workload(self, run: Run) -> None:
        run.abort.set()
        if run.workload is not None:
            await run.workload.kill()
        if run.task is not None:
            await asyncio.wait([run.task])

    async def end_untold(self, machine: Machine) -> None:
        """Kill what runs without a word about it: the caller tells another story."""
        run = self._runs.pop(machine.id, None)
        if run is not None:
            run.untold = True
            await self._end_workload(run)
        machine.workload = None

    # This process's own life.

    async def resume(self) -> None:
        """After a restart: find what still runs, tell of what ended meanwhile, finish what was begun."""
        for machine in list(self.store.machines.values()):
            if machine.workload is not None:
                await self._find(machine)
            elif machine.state in ("created", "starting", "replacing") and machine.launch_due:
                self.launch(machine)
            ended = machine.state == "stopped" and machine.config.get("auto_destroy")
            if ended or machine.state == "destroying":
                self._background(self._destroy(machine, self._runs.get(machine.id)))

    async def _find(self, machine: Machine) -> None:
        if machine.workload is None:
            return
        cursor = self._lines.cursor(machine)
        launch, sink = self._launch_of(machine), self._lines.sink(machine)
        workload = await self.backend.attach(machine.workload, launch, sink, cursor)
        run = self._runs[machine.id] = Run(requested_stop=machine.state == "stopping")
        if workload is not None:
            run.workload = workload
            run.task = self._background(self._live(machine, run, workload))
        else:
            self._tell_end(machine, run, Exit(137, 9, error="the workload did not survive"), again=False)

    async def close(self) -> None:
        """End every workload (unless the setting keeps them) without changing what the records say."""
        if not self.settings.keep_machines:
            for run in self._runs.values():
                run.untold = True
            ending = [self._end_workload(run) for run in self._runs.values() if run.task is not None]
            await asyncio.gather(*ending)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._logs.close()
        await self.backend.close()
