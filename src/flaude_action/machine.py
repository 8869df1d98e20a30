"""One Machine's life: created or adopted, watched, its end told, destroyed whatever happens.

Destroying is guaranteed by the context manager, also when the task around it is cancelled. What happens on
the machine in between is `execution`'s, and what its end means is `verdict`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaude_action.errors import FlyAPIError, MachineTimeout
from flaude_action.fly_errors import may_have_happened, may_pass, name_taken
from flaude_action.verdict import ExitEvent
from flaude_action.waiting import Cancellation, Deadline, finish, patiently

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flaude_action.fly import Fly
    from flaude_action.fly_models import Event, ExecResult
    from flaude_action.fly_models import Machine as FlyMachine

log = logging.getLogger(__name__)

META_MANAGER, MANAGER = "managed_by", "flaude-action"
META_RUN, META_NONCE, META_DEADLINE = "flaude_run", "flaude_nonce", "flaude_deadline"

ENDED = ("stopped", "failed", "destroyed")
OVER = (*ENDED, "destroying")
WAIT_SLICE_S = 60
"""Fly refuses longer waits: `value must be inside range [1s, 1m0s]`."""
CREATE_TRIES = 3
CREATE_CLEANUP_S, CREATE_HURRIED_S = 5.0, 3.0
"""After a cancel: how long a create call in flight may take to answer, so that we know what to destroy."""
LOOK_S = 1.0
DESTROY_CONFIRM_S = 10
DESTROY_HURRIED_S = 1.5
"""How long destroying may take, its confirmation included, once the runner counts the seconds."""
WATCH_PAUSE_S = 1.0
EVENTS_RETRY_S = 5.0


def new_nonce() -> str:
    """64 random bits as 16 hex digits: what makes a machine provably ours."""
    return secrets.token_hex(8)


def run_digest(*identity: object) -> str:
    """Who started this: repository, run, attempt, job, step, matrix index, as 12 hex digits."""
    return hashlib.sha256("\0".join(map(str, identity)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Launch:
    """One create call: its name is unique to this launch, so a lost answer can be found again."""

    run: str
    nonce: str
    config: dict[str, Any] = field(repr=False)
    regions: Sequence[str | None] = (None,)
    number: int = 1
    name: str = ""

    @property
    def machine_name(self) -> str:
        return self.name or f"flaude-{self.run}-{self.number}-{self.nonce}"


@dataclass(frozen=True)
class End:
    """How Fly shows the end: the last state seen, and whether the record itself is gone."""

    state: str
    gone: bool = False


@dataclass(frozen=True)
class History:
    """The newest exit of the newest launch, if there is one; whether the launch is known and no start is."""

    exit: ExitEvent | None = None
    never_started: bool = False


class Machine:
    """`async with Machine(...)` creates on the way in and destroys on the way out.

    After the block `cleanup` is `destroyed`, `already_gone` or `leaked:<id>`; "" when there was no machine.
    Once `cancellation` is requested seconds count, and destroying is not waited for as long.
    """

    def __init__(
        self, fly: Fly, app: str, launch: Launch, *, cancellation: Cancellation | None = None
    ) -> None:
        self._fly = fly
        self._app = app
        self._launch = launch
        self._cancellation = cancellation or Cancellation()
        self._record: FlyMachine | None = None
        self.cleanup = ""

    @property
    def record(self) -> FlyMachine:
        """Fly's own record, as last seen."""
        if self._record is None:
            raise RuntimeError("the machine is not created yet")
        return self._record

    @property
    def id(self) -> str:
        return self.record.id

    async def __aenter__(self) -> Machine:
        creating = asyncio.ensure_future(self._create())
        try:
            self._record = await asyncio.shield(creating)
        except asyncio.CancelledError:
            await finish(self._abandon(creating))
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await finish(self.destroy())

    async def started(self, deadline: Deadline) -> str:
        """Wait until it runs, or is already over; the state seen.

        Raises MachineTimeout `machine_boot_timeout` at the deadline.
        """
        while not deadline.passed:
            try:
                state = await self._wait(("started", *ENDED), deadline.within(WAIT_SLICE_S))
            except FlyAPIError as error:
                if not may_pass(error):
                    raise
                log.info("waiting for the machine to start: %s", error)
                await asyncio.sleep(deadline.within(WATCH_PAUSE_S))
                continue
            if state:
                return state
        raise MachineTimeout("machine_boot_timeout", details=f"It had {deadline.seconds:.0f} s.")

    async def ended(self) -> End:
        """Wait until the machine is over. Trouble with the API is waited out: the caller has the deadline."""
        while True:
            try:
                state = await self._wait(ENDED, WAIT_SLICE_S)
            except FlyAPIError as error:
                end = await self._last_sight() if error.status_code == 404 else None
                if end is not None:
                    return end
                log.info("waiting for the machine: %s", error)
                await asyncio.sleep(WATCH_PAUSE_S)
                continue
            if state:
                return End(state)

    async def _wait(self, states: Sequence[str], seconds: float) -> str:
        """The state reached, "" when the time passed first. Fly may answer no more than ok: then we look."""
        answer = await self._fly.wait(self._app, self.id, states, self.record.instance_id, seconds)
        if answer is None or answer.state:
            return answer.state if answer is not None else ""
        self._record = await self._fly.get_machine(self._app, self.id)
        if self._record.state in states or self._record.state in OVER:
            return self._record.state
        await asyncio.sleep(WATCH_PAUSE_S)
        return ""

    async def _last_sight(self) -> End | None:
        """After a 404 on wait the record may still answer for a while. None when it does not tell of an end:
        a server that has not heard of the machine yet is not believed while another knows it to live."""
        try:
            self._record = await self._fly.get_machine(self._app, self.id)
        except FlyAPIError as error:
            log.info("reading the machine's record: %s", error)
            return End("", gone=True) if error.status_code == 404 else None
        return End(self.record.state, gone=True) if self.record.state in OVER else None

    async def history(self) -> History:
        """What Fly's events tell of the end; nothing when Fly does not give them."""
        events = await self._events()
        kinds = {event.type for event in events}
        never_started = "launch" in kinds and "start" not in kinds
        for event in events:
            if event.exit is not None or event.type == "crash":
                return History(_told(event))
            if event.type in ("start", "launch"):
                break
        return History(None, never_started)

    async def _events(self) -> Sequence[Event]:
        """The whole history; when Fly does not give it, the five newest events in the machine's record."""
        try:
            return await self._fly.events(self._app, self.id, retry_for=EVENTS_RETRY_S)
        except FlyAPIError as error:
            log.info("reading the machine's events: %s", error)
        try:
            return (await self._fly.get_machine(self._app, self.id, retry_for=EVENTS_RETRY_S)).events
        except FlyAPIError as error:
            log.info("reading the machine's record instead: %s", error)
            return ()

    async def exec(self, command: list[str], *, stdin: str = "", timeout: float) -> ExecResult:
        """Run one command on it; the shape `guest_link.Exec` asks for."""
        return await self._fly.exec(self._app, self.id, command, stdin, timeout)

    async def destroy(self) -> str:
        """Destroy and confirm. Never raises: what could not be done is told in `cleanup`."""
        if self._record is not None and not self.cleanup:
            self.cleanup = await destroy(self._fly, self._app, self._record, self._cancellation)
        return self.cleanup

    async def _create(self) -> FlyMachine:
        """Try the regions in order; only a lack of capacity moves on to the next."""
        *others, last = self._launch.regions
        for region in others:
            try:
                return await self._create_in(region)
            except FlyAPIError as error:
                if error.type != "machine_capacity":
                    raise
                log.warning("no capacity in %s, trying the next region", region)
        return await self._create_in(last)

    async def _create_in(self, region: str | None) -> FlyMachine:
        """Create, or adopt what a lost answer left behind: only a machine with our nonce."""
        launch = self._launch
        for attempt in range(CREATE_TRIES):
            try:
                return await self._fly.create_machine(
                    self._app, launch.config, name=launch.machine_name, region=region or ""
                )
            except FlyAPIError as error:
                if not (may_have_happened(error) or name_taken(error)):
                    raise
                adopted = await self._ours()
                if adopted is not None:
                    return adopted
                if attempt == CREATE_TRIES - 1:
                    raise
                log.warning("creating the machine: %s; trying again", error)
                await asyncio.sleep(0.5 * 2**attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    async def _ours(self) -> FlyMachine | None:
        """The machine of this launch, also one that has been and gone: it must not be started twice."""
        marks = {META_NONCE: self._launch.nonce}
        found = await self._fly.list_machines(self._app, metadata=marks, include_deleted=True)
        found.sort(key=lambda machine: machine.state in OVER)
        return found[0] if found else None

    async def _abandon(self, creating: asyncio.Task[FlyMachine]) -> None:
        """We were cancelled during create: see what came of it and remove that."""
        seconds = CREATE_HURRIED_S if self._cancellation.requested else CREATE_CLEANUP_S
        await asyncio.wait([creating], timeout=seconds)
        if creating.done() and creating.exception() is None:
            self._record = creating.result()
        else:
            creating.cancel()
            self._record = await self._left_behind()
        await self.destroy()

    async def _left_behind(self) -> FlyMachine | None:
        """What a create without an answer may have made all the same."""
        try:
            async with asyncio.timeout(LOOK_S):
                return await self._ours()
        except (TimeoutError, FlyAPIError) as error:
            log.warning("create was cut off, and looking for what it made: %s", error)
            return None


async def destroy(fly: Fly, app: str, machine: FlyMachine, cancellation: Cancellation | None = None) -> str:
    """Destroy a machine and see it gone: `destroyed`, `already_gone` or `leaked:<id>`. Never raises."""
    gone = _destroy(fly, app, machine)
    seen = await patiently(gone, cancellation or Cancellation(), DESTROY_HURRIED_S)
    return seen or f"leaked:{machine.id}"


async def _destroy(fly: Fly, app: str, machine: FlyMachine) -> str:
    """How it went; "" when the machine was not seen to be gone."""
    try:
        await fly.destroy_machine(app, machine.id)
    except FlyAPIError as error:
        if error.status_code == 404:
            return "already_gone"
        log.warning("destroying machine %s: %s", machine.id, error)
        return ""
    try:
        answer = await fly.wait(app, machine.id, ("destroyed",), machine.instance_id, DESTROY_CONFIRM_S)
    except FlyAPIError as error:
        return "destroyed" if error.status_code == 404 else ""
    return "destroyed" if answer is not None else ""


def _told(event: Event) -> ExitEvent:
    """Fly's words as the verdict wants them."""
    exit_ = event.exit
    if exit_ is None:
        return ExitEvent(type=event.type)
    return ExitEvent(
        type=event.type,
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        guest_signal=exit_.guest_signal,
        oom_killed=exit_.oom_killed,
        requested_stop=exit_.requested_stop,
        error=exit_.error or exit_.guest_error,
        guest_exit_code=exit_.guest_exit_code,
        unknown_keys=tuple(sorted(exit_.unknown_keys)),
    )


def metadata(launch_run: str, nonce: str, lifetime_s: float) -> dict[str, str]:
    """What marks a machine as ours: manager, run, nonce, and the epoch second by which it must be gone."""
    return {
        META_MANAGER: MANAGER,
        META_RUN: launch_run,
        META_NONCE: nonce,
        META_DEADLINE: str(int(time.time() + lifetime_s)),
    }
