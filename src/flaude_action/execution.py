"""One run from create to destroyed, the same for the library and for the action.

Watches three things at once: the guest's word over exec, Fly's word on whether the machine still lives, and
our own deadline and cancellation. The first to speak ends the run; then the evidence goes to `verdict`. What
is learned on the way is kept in `life`; what is printed is the callers'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flaude_action.errors import FlaudeError, MachineTimeout, RunCancelled
from flaude_action.evidence import OwnStop
from flaude_action.guest_link import GuestLink
from flaude_action.guest_work import GuestWork
from flaude_action.launch import Launch, new_nonce, planned
from flaude_action.life import Clock, ImageIsForeign, Life
from flaude_action.logs import LogFollower
from flaude_action.machine import Machine
from flaude_action.machine_config import BOOT_S, MARGIN_S, MachineConfig
from flaude_action.machine_history import History, history
from flaude_action.outcome import Errand, Outcome, Watcher
from flaude_action.verdict import Verdict, judge
from flaude_action.waiting import Cancellation, Deadline, Patience, patiently, unless_cancelled

if TYPE_CHECKING:
    from flaude_action.fly import Fly

log = logging.getLogger(__name__)

STOP_S, STOP_EMPTY_S = 3.0, 1.0
"""After a stop: the longest until the destroy request, with and without work to save."""
CANCEL_S = 1.0
"""After a signal: the longest that Fly's events, and what is left of the log, are waited for."""
DEATH_GRACE_S = 1.0
LAST_WORD_S = 2.0


class Execution:
    """Runs once."""

    def __init__(
        self,
        fly: Fly,
        config: MachineConfig,
        errand: Errand,
        *,
        cancellation: Cancellation | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self._fly, self._config, self._errand = fly, config, errand
        self._patience = errand.wait_timeout or config.lifetime_s
        self._lifetime_s = min(config.lifetime_s, self._patience + MARGIN_S)
        self._cancellation = cancellation or Cancellation()
        self._watch = watcher or Watcher()
        self._nonce = new_nonce()

    async def run(self) -> Outcome:
        """The whole life. Raises when no machine came to be, and CancelledError after cleanup."""
        deadline = Deadline.after(self._patience)
        foreign = self._config.guest == "foreign"
        try:
            return await self._launch(deadline, foreign=foreign, number=1)
        except ImageIsForeign as found:
            outcome = await self._launch(deadline, foreign=True, number=2)
            first = found.machine.cleanup
            return replace(outcome, cleanup=first) if first.startswith("leaked") else outcome

    async def _launch(self, deadline: Deadline, *, foreign: bool, number: int) -> Outcome:
        config, errand = self._config, self._errand
        launch = planned(config, errand, self._nonce, self._lifetime_s, foreign=foreign, number=number)
        self._watch.launching(launch)
        machine = Machine(self._fly, errand.app, launch, cancellation=self._cancellation, deadline=deadline)
        clock = Clock()
        try:
            with clock.timed("create"):
                await self._create(machine, deadline)
            self._watch.created(machine)
            follower = LogFollower(self._fly, errand.app, machine.id, machine.record.created_at)
            life = Life(machine, follower, config, clock, ours=not foreign)
            return await self._with_machine(life, launch, deadline)
        finally:
            await machine.__aexit__()

    async def _create(self, machine: Machine, deadline: Deadline) -> None:
        """Enter the machine's life. Raises RunCancelled or MachineTimeout, once nothing is left of it."""
        try:
            async with asyncio.timeout(deadline.left):
                await unless_cancelled(machine.__aenter__(), self._cancellation)
        except TimeoutError as error:
            if self._cancellation.requested:
                raise RunCancelled("cancelled") from error
            raise MachineTimeout("run_timeout", "Fly made no machine in the time the run had.") from error

    async def _with_machine(self, life: Life, launch: Launch, deadline: Deadline) -> Outcome:
        """From a machine that exists to one that is destroyed, and judged."""
        logs = asyncio.ensure_future(self._read_logs(life))
        try:
            if life.recognised():
                await self._live(life, launch, deadline)
            if life.own_stop is None or life.claims_success:
                await life.search(self._errand.holds_secret, self._cancellation)
            evidence = life.evidence(await self._history(life))
            verdict = judge(evidence)
            told = self._tell(verdict)
            with life.clock.timed("destroy"):
                await asyncio.gather(life.machine.__aexit__(), self._hand_on(life))
            life.clock.machine_destroyed()
            with life.clock.timed("logs"):
                await self._drain(life, logs, ran=not evidence.never_started, decided=told)
            evidence = life.with_log(evidence)
            if not told:  # else the log of our own destroy would be heard as evidence
                verdict = judge(evidence)
                self._watch.judged(verdict)
            return life.outcome(evidence, verdict)
        finally:
            logs.cancel()
            await asyncio.gather(logs, return_exceptions=True)

    async def _hand_on(self, life: Life) -> None:
        """The work is handed on before the log's rest is read, which may fill the runner's disk.

        Searched it is first; after a stop only here, unless the verdict may still be success.
        """
        await life.search(self._errand.holds_secret, self._cancellation)
        await self._watch.collected(life.files)

    def _tell(self, verdict: Verdict) -> bool:
        """Pass the verdict on when something carries it already; else the log's word has still to come."""
        carried = verdict.source != "none" or verdict.type not in ("outcome_unknown", "machine_lost")
        if carried:
            self._watch.judged(verdict)
        return carried

    async def _live(self, life: Life, launch: Launch, deadline: Deadline) -> None:
        """Until the first of: the guest is done, the machine is over, we stop."""
        stop = asyncio.ensure_future(self._own_stop(deadline))
        death = asyncio.ensure_future(life.machine.ended(quiet=life.ours))
        work = asyncio.ensure_future(self._work(life, launch, deadline))
        tasks: set[asyncio.Future[Any]] = {stop, death, work}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if death.done() and not work.done():
                # The last status answer may still be on its way.
                await asyncio.wait([work], timeout=DEATH_GRACE_S)
            if work.done():
                await asyncio.wait([death], timeout=self._after_work(life, work))
            elif not death.done():
                life.stopped_by_us(stop.result())
                await self._stop(life, work)
            if death.done():
                life.end = death.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, life: Life, launch: Launch, deadline: Deadline) -> None:
        with life.clock.timed("boot"):
            state = await life.machine.started(Deadline.after(BOOT_S))
        if state != "started":
            return
        life.clock.machine_started()
        if not life.ours:
            # A foreign machine has no word of its own: its end is the signal, and its time is ours to keep.
            await asyncio.sleep(self._errand.wait_timeout or self._config.timeout_s)
            raise MachineTimeout("run_timeout")
        patience = Patience(deadline)
        link = GuestLink(life.machine.exec, launch.nonce, patience, life.machine.spare_exec)
        job = (await self._errand.complete(self._config)).job(launch.nonce)
        life.work = GuestWork(link, job, self._errand.folder, self._watch.phase, patience)
        await life.work.run()

    def _after_work(self, life: Life, work: asyncio.Future[None]) -> float:
        """How long to wait for Fly to see the end: for the guest's last word, or for what broke the link."""
        error = work.exception()
        if error is None:
            return LAST_WORD_S
        if isinstance(error, MachineTimeout):
            life.stopped_by_us(self._stopped(error.type))
            return 0.0
        if not isinstance(error, FlaudeError):
            raise error
        if self._cancellation.requested:  # what broke then broke in stopping
            life.own_stop = self._stopped("")
            return 0.0
        life.trouble = error
        return DEATH_GRACE_S

    async def _own_stop(self, deadline: Deadline) -> OwnStop:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline.left):
                await self._cancellation.wait()
        return self._stopped("run_timeout")

    def _stopped(self, type_: str) -> OwnStop:
        """A deadline has passed; when a stop was asked for as well, that wins."""
        if self._cancellation.requested:
            return OwnStop("cancelled", time.time())
        given = self._errand.wait_timeout
        return OwnStop(type_, time.time(), f"`wait_timeout` was {given:g} s." if given else "")

    async def _stop(self, life: Life, work: asyncio.Future[None]) -> None:
        """Save what is there, unless we were told twice or there is nothing to save."""
        work.cancel()
        if life.work is None or not life.work.provisioned or self._cancellation.at_once:
            return
        # The phase that we know may be over by now; where there is nothing to save the guest says so at once.
        seconds = STOP_S if life.work.status is not None else STOP_EMPTY_S
        await patiently(life.work.interrupt(seconds), self._cancellation.wait_at_once(), 0.0)

    async def _read_logs(self, life: Life) -> None:
        async for page in life.logs.pages():
            for line in page:
                life.witness.see(line.message, line.provider)
            await self._watch.lines(page)

    async def _drain(self, life: Life, logs: asyncio.Task[None], *, ran: bool, decided: bool) -> None:
        """Read the log to its end; of a machine that never ran no last line is waited for."""
        lines = (life.result or {}).get("lines")
        life.logs.end(lines if isinstance(lines, int) else None, decided=decided)
        await patiently(logs, self._cancellation.wait() if ran else asyncio.sleep(LAST_WORD_S), CANCEL_S)

    async def _history(self, life: Life) -> History:
        """What Fly's events tell, where they can matter and there is time."""
        if not life.needs_history:
            return History()
        asking = history(self._fly, self._errand.app, life.machine.id)
        return await patiently(asking, self._cancellation.wait(), CANCEL_S) or History()
