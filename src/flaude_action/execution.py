"""One run from create to destroyed, the same for the library and for the action.

Watches three things at once: the guest's word over exec, Fly's word on whether the machine still lives, and
our own deadline and cancellation. The first to speak ends the run; then the evidence goes to `verdict`. What
is asked and given back is spelled in `outcome`; what is printed is the callers'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flaude_action import DEFAULT_IMAGE
from flaude_action.errors import FlaudeError, GuestError, MachineTimeout
from flaude_action.guest_link import GuestLink
from flaude_action.guest_work import GuestWork
from flaude_action.log_witness import LogWitness
from flaude_action.logs import LogFollower
from flaude_action.machine import End, History, Launch, Machine, metadata, new_nonce
from flaude_action.machine_config import BOOT_S, HOLD_S, MARGIN_S, MachineConfig, guest_of
from flaude_action.outcome import Errand, Outcome, Watcher
from flaude_action.verdict import Evidence, OwnStop, Verdict, judge
from flaude_action.waiting import Cancellation, Deadline, patiently, unless_cancelled
from flaude_guest.protocol import IMAGE_LABEL, PHASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flaude_action.fly import Fly

log = logging.getLogger(__name__)

STOP_S, STOP_EMPTY_S = 3.0, 1.0
"""After a stop: the longest until the destroy request, with and without work to save."""
CANCEL_S = 1.0
"""After a signal: the longest that Fly's events, and what is left of the log, are waited for."""
DEATH_GRACE_S = 1.0
LAST_WORD_S = 2.0


class _ImageIsForeign(Exception):
    """The image turned out to have no guest of ours: it must be told its job by its environment."""


@dataclass
class _Life:
    """One machine's run in progress, and what has been learned so far."""

    machine: Machine
    logs: LogFollower
    ours: bool = True
    witness: LogWitness = field(default_factory=LogWitness)
    work: GuestWork | None = None
    end: End | None = None
    own_stop: OwnStop | None = None
    trouble: FlaudeError | None = None

    @property
    def own_stop_by_its_clock(self) -> OwnStop | None:
        """When we decided to stop, in the machine's time: its results are told in that."""
        behind = self.work.clock_behind_s if self.work is not None else None
        if self.own_stop is None or behind is None:
            return self.own_stop
        return replace(self.own_stop, at=self.own_stop.at - behind)

    @property
    def result(self) -> dict[str, Any] | None:
        return self.work.result if self.work is not None else None


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
        self._patience = errand.wait_timeout or config.timeout_s + BOOT_S + HOLD_S + MARGIN_S
        self._cancellation = cancellation or Cancellation()
        self._watch = watcher or Watcher()
        self._seconds: dict[str, float] = {}
        self._started_at: float | None = None
        self._ran_s: float | None = None

    async def run(self) -> Outcome:
        """The whole life. Raises when no machine came to be, and CancelledError after cleanup."""
        deadline = Deadline.after(self._patience)
        foreign = self._config.guest == "foreign"
        try:
            return await self._launch(deadline, foreign=foreign, number=1)
        except _ImageIsForeign:
            return await self._launch(deadline, foreign=True, number=2)

    async def _launch(self, deadline: Deadline, *, foreign: bool, number: int) -> Outcome:
        launch = self._plan(foreign=foreign, number=number)
        self._watch.launching(launch)
        machine = Machine(self._fly, self._errand.app, launch, cancellation=self._cancellation)
        try:
            with self._timed("create"):
                await unless_cancelled(machine.__aenter__(), self._cancellation)
            self._watch.created(machine)
            return await self._with_machine(machine, launch, deadline, foreign=foreign)
        finally:
            await machine.__aexit__()

    async def _with_machine(
        self, machine: Machine, launch: Launch, deadline: Deadline, *, foreign: bool
    ) -> Outcome:
        follower = LogFollower(self._fly, self._errand.app, machine.id, machine.record.created_at)
        life = _Life(machine, follower)
        logs = asyncio.ensure_future(self._read_logs(life))
        try:
            if self._recognise(life, foreign=foreign):
                await self._live(life, launch, deadline)
            evidence = await self._evidence(life)
            verdict = judge(evidence)
            told = self._tell(verdict)
            with self._timed("destroy"):
                await machine.__aexit__()
            if self._started_at is not None:
                self._ran_s = round(time.monotonic() - self._started_at, 3)
            with self._timed("logs"):
                await self._drain(life, logs)
            evidence = self._with_log(life, evidence)
            if not told:  # else the log of our own destroy would be heard as evidence
                verdict = judge(evidence)
                self._watch.judged(verdict)
            return self._outcome(life, evidence, verdict)
        finally:
            logs.cancel()
            await asyncio.gather(logs, return_exceptions=True)

    def _tell(self, verdict: Verdict) -> bool:
        """Pass the verdict on when something carries it already; else the log's word has still to come."""
        carried = verdict.source != "none" or verdict.type not in ("outcome_unknown", "machine_lost")
        if carried:
            self._watch.judged(verdict)
        return carried

    def _plan(self, *, foreign: bool, number: int) -> Launch:
        nonce = new_nonce()
        env = self._config.foreign_env() if foreign else self._config.guest_env(nonce)
        marks = metadata(self._errand.run, nonce, self._patience)
        return Launch(
            run=self._errand.run,
            nonce=nonce,
            config=self._config.create_config(env, marks),
            regions=self._config.wanted_regions,
            number=number,
            name=self._errand.name,
        )

    def _recognise(self, life: _Life, *, foreign: bool) -> bool:
        """Whether to go on, having learned whether our guest is in the image: the caller says so, it is the
        default, or its label says so. Raises _ImageIsForeign when the job must be told otherwise."""
        life.ours = not foreign
        if foreign or self._config.guest == "flaude" or self._config.image == DEFAULT_IMAGE:
            return True
        try:
            if guest_of(life.machine.record.image_ref.labels.get(IMAGE_LABEL)) == "foreign":
                raise _ImageIsForeign
        except GuestError as error:
            life.trouble = error
        return life.trouble is None

    async def _live(self, life: _Life, launch: Launch, deadline: Deadline) -> None:
        """Until the first of: the guest is done, the machine is over, we stop."""
        stop = asyncio.ensure_future(self._own_stop(deadline))
        death = asyncio.ensure_future(life.machine.ended())
        work = asyncio.ensure_future(self._work(life, launch))
        tasks: set[asyncio.Future[Any]] = {stop, death, work}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if death.done() and not work.done():
                # The last status answer may still be on its way.
                await asyncio.wait([work], timeout=DEATH_GRACE_S)
            if work.done():
                await asyncio.wait([death], timeout=self._after_work(life, work))
            elif not death.done():
                life.own_stop = stop.result()
                await self._stop(life, work)
            if death.done():
                life.end = death.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, life: _Life, launch: Launch) -> None:
        with self._timed("boot"):
            state = await life.machine.started(Deadline.after(BOOT_S))
        if state != "started":
            return
        self._started_at = time.monotonic()
        if not life.ours:
            # A foreign machine has no word of its own: its end is the signal, and its time is ours to keep.
            await asyncio.sleep(self._errand.wait_timeout or self._config.timeout_s)
            raise MachineTimeout("run_timeout")
        link = GuestLink(life.machine.exec, launch.nonce)
        job = (await self._errand.complete(self._config)).job(launch.nonce)
        life.work = GuestWork(link, job, self._errand.folder, self._watch.phase)
        await life.work.run()

    def _after_work(self, life: _Life, work: asyncio.Future[None]) -> float:
        """How long to wait for Fly to see the end: for the guest's last word, or for what broke the link."""
        error = work.exception()
        if error is None:
            return LAST_WORD_S
        if isinstance(error, MachineTimeout):
            life.own_stop = self._stopped(error.type)
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
        return OwnStop("cancelled" if self._cancellation.requested else type_, time.time())

    async def _stop(self, life: _Life, work: asyncio.Future[None]) -> None:
        """Save what is there, unless we were told twice or there is nothing to save."""
        work.cancel()
        if life.work is None or not life.work.provisioned or self._cancellation.at_once:
            return
        status = life.work.status
        seconds = (
            STOP_S if status is not None and status.phase in ("agent", "collect", "hold") else STOP_EMPTY_S
        )
        saving = asyncio.ensure_future(life.work.interrupt(seconds))
        hurry = asyncio.ensure_future(self._cancellation.wait_at_once())
        await asyncio.wait([saving, hurry], return_when=asyncio.FIRST_COMPLETED)
        for task in (saving, hurry):
            task.cancel()
        await asyncio.gather(saving, hurry, return_exceptions=True)

    async def _read_logs(self, life: _Life) -> None:
        async for page in life.logs.pages():
            for line in page:
                life.witness.see(line.message, line.provider)
            await self._watch.lines(page)

    async def _drain(self, life: _Life, logs: asyncio.Task[None]) -> None:
        lines = (life.result or {}).get("lines")
        life.logs.end(lines if isinstance(lines, int) else None)
        await patiently(logs, self._cancellation, CANCEL_S)

    async def _evidence(self, life: _Life) -> Evidence:
        """What is known without waiting. Fly's events are asked for only when they can matter."""
        work, end = life.work, life.end
        needs_events = life.own_stop is None and (life.result is None or end is not None)
        history = None
        if needs_events:
            history = await patiently(life.machine.history(), self._cancellation, CANCEL_S)
        history = history or History()
        return Evidence(
            ours=life.ours,
            result=life.result,
            result_tampered=bool(work and work.status and work.status.tampered),
            provisioned=work is not None and work.provisioned,
            has_delivery=bool(self._config.repos),
            exit=history.exit,
            never_started=history.never_started,
            state=end.state if end is not None else "",
            gone=end is not None and end.gone,
            own_stop=life.own_stop_by_its_clock,
            trouble=life.trouble.type if life.trouble is not None else "",
            work_lost=work is not None and work.lost,
        )

    def _with_log(self, life: _Life, evidence: Evidence) -> Evidence:
        """The log's word added, once it has been read to its end."""
        return replace(
            evidence,
            marker=life.witness.marker,
            marker_is_last=life.witness.marker_is_last,
            platform_code=life.witness.platform_code,
            log_complete=life.logs.complete,
        )

    def _outcome(self, life: _Life, evidence: Evidence, verdict: Verdict) -> Outcome:
        record, work = life.machine.record, life.work
        return Outcome(
            verdict=verdict,
            evidence=evidence,
            machine_id=record.id,
            region=record.region,
            image=str(record.config.get("image", self._config.image)),
            cleanup=life.machine.cleanup,
            log_refused=life.logs.refused,
            trouble=life.trouble,
            problems=tuple(work.problems) if work is not None else (),
            files=dict(work.files) if work is not None else {},
            machine_seconds=self._ran_s,
            phase_seconds=self._phases(work.status.times if work is not None and work.status else {}),
        )

    def _phases(self, guest_times: dict[str, list[float | None]]) -> dict[str, float]:
        """Seconds by phase, ours and the guest's, in the order they happened."""
        seconds: dict[str, float] = {}
        for name in ("create", "boot"):
            if name in self._seconds:
                seconds[name] = self._seconds[name]
        for name in PHASES:
            start, end = (guest_times.get(name) or [None, None])[:2]
            if isinstance(start, (int, float)) and isinstance(end, (int, float)) and name != "waiting":
                seconds[name] = round(end - start, 3)
        return seconds | {name: self._seconds[name] for name in ("destroy", "logs") if name in self._seconds}

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds[phase] = round(time.monotonic() - began, 3)
