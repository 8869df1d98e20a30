"""One Machine's life: watched from its creation to its end, and destroyed whatever happens.

Destroying is guaranteed by the context manager, also when the task around it is cancelled. How it comes to be
is `launch`'s, what happens on it `execution`'s, what Fly tells of its end `machine_history`'s.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flaude_action.errors import FlyAPIError, MachineTimeout
from flaude_action.fly_errors import may_pass
from flaude_action.launch import create, made_by
from flaude_action.waiting import Cancellation, Deadline, Patience, finish, patiently

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flaude_action.fly import Fly
    from flaude_action.fly_models import ExecResult
    from flaude_action.fly_models import Machine as FlyMachine
    from flaude_action.launch import Launch

log = logging.getLogger(__name__)

ENDED = ("stopped", "failed", "destroyed")
OVER = (*ENDED, "destroying")
WAIT_SLICE_S = 60
"""Fly refuses longer waits: `value must be inside range [1s, 1m0s]`."""
CREATE_CLEANUP_S, CREATE_HURRIED_S = 5.0, 3.0
"""After a cancel: how long a create call in flight may take to answer, so that we know what to destroy."""
LOOK_S = 1.0
DESTROY_CONFIRM_S = 10
DESTROY_PATIENCE_S = 150.0
"""How long a Fly that gives no answer at all is asked to destroy, unless the runner counts the seconds."""
DESTROY_HURRIED_S = 1.5
"""How long destroying may take, its confirmation included, once the runner counts the seconds."""
WATCH_PAUSE_S = 1.0


@dataclass(frozen=True)
class End:
    """How Fly shows the end: the last state seen, and whether the record itself is gone."""

    state: str
    gone: bool = False


class Machine:
    """`async with Machine(...)` creates on the way in and destroys on the way out.

    After the block `cleanup` is `destroyed`, `already_gone` or `leaked:<id>`; "" when there was no machine.
    Once `cancellation` is requested seconds count, and destroying is not waited for as long. A Fly that does
    not answer is waited for until the run's `deadline`.
    """

    def __init__(
        self,
        fly: Fly,
        app: str,
        launch: Launch,
        *,
        cancellation: Cancellation | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._fly = fly
        self._app = app
        self._launch = launch
        self._cancellation = cancellation or Cancellation()
        self._record: FlyMachine | None = None
        self._deadline = deadline or Deadline.after(DESTROY_PATIENCE_S)
        self._booting = Patience(self._deadline)
        self._watching = Patience(quiet=True)
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

    @property
    def unreachable(self) -> FlyAPIError | None:
        """What keeps Fly from telling us the machine's state; None when it does."""
        return self._booting.trouble or self._watching.trouble

    async def __aenter__(self) -> Machine:
        creating = asyncio.ensure_future(create(self._fly, self._app, self._launch))
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

        Raises MachineTimeout `machine_boot_timeout` at the deadline: not while Fly does not answer, because
        then it may well run.
        """
        while self._booting.trouble is not None or not deadline.passed:
            try:
                state = await self._wait(("started", *ENDED), deadline.within(WAIT_SLICE_S))
            except FlyAPIError as error:
                if not may_pass(error):
                    raise
                await self._booting.wait_out(error)
                continue
            self._booting.answered()
            if state:
                return state
        raise MachineTimeout("machine_boot_timeout", details=f"It had {deadline.seconds:.0f} s.")

    async def ended(self, *, quiet: bool = True) -> End:
        """Wait until the machine is over. Trouble with the API is waited out: the caller has the deadline.

        `quiet` leaves it to the guest's link to tell of that.
        """
        self._watching = Patience(quiet=quiet)
        while True:
            try:
                state = await self._wait(ENDED, WAIT_SLICE_S)
            except FlyAPIError as error:
                end = await self._last_sight() if error.status_code == 404 else None
                if end is not None:
                    return end
                log.info("waiting for the machine: %s", error)
                if may_pass(error):
                    self._watching.quiet = quiet or self._booting.trouble is not None
                    await self._watching.wait_out(error)
                else:
                    await asyncio.sleep(WATCH_PAUSE_S)
                continue
            self._watching.answered()
            if state:
                return End(state)

    async def _wait(self, states: Sequence[str], seconds: float) -> str:
        """The state reached, "" when the time passed first. Fly may answer no more than ok: then we look."""
        version = self.record.instance_id
        answer = await self._fly.wait(self._app, self.id, states, version, seconds, retry_for=0.0)
        if answer is None:
            return ""
        if answer.state in states:
            return answer.state
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

    async def exec(self, command: list[str], *, stdin: str = "", timeout: float) -> ExecResult:
        """Run one command on it; the shape `guest_link.Exec` asks for. What failed is not repeated."""
        return await self._fly.exec(self._app, self.id, command, stdin, timeout, retry_for=0.0)

    async def spare_exec(self) -> float:
        """Wait for a command's turn that leaves another one; see `Fly.spare_exec`."""
        return await self._fly.spare_exec(self._app, self.id)

    async def destroy(self) -> str:
        """Destroy and confirm. Never raises: what could not be done is told in `cleanup`."""
        if self._record is not None and not self.cleanup:
            patience = Deadline.after(self._deadline.within(DESTROY_PATIENCE_S))
            self.cleanup = await destroy(self._fly, self._app, self._record, self._cancellation, patience)
        return self.cleanup

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
                return await made_by(self._launch, self._fly, self._app)
        except (TimeoutError, FlyAPIError) as error:
            log.warning("create was cut off, and looking for what it made: %s", error)
            return None


async def destroy(
    fly: Fly,
    app: str,
    machine: FlyMachine,
    cancellation: Cancellation | None = None,
    patience: Deadline | None = None,
) -> str:
    """Destroy a machine and see it gone: `destroyed`, `already_gone` or `leaked:<id>`. Never raises.

    A Fly that is in trouble, or gives no answer at all, is asked again until `patience` ends: in an outage a
    machine that was released goes by itself, and is seen to have gone.
    """
    gone = _destroy(fly, app, machine, patience or Deadline.after(0))
    seen = await patiently(gone, (cancellation or Cancellation()).wait(), DESTROY_HURRIED_S)
    return seen or f"leaked:{machine.id}"


async def _destroy(fly: Fly, app: str, machine: FlyMachine, patience: Deadline) -> str:
    """How it went; "" when the machine was not seen to be gone."""
    asking, accepted = Patience(patience), False
    while True:
        try:
            await fly.destroy_machine(app, machine.id)
            accepted = True
            answer = await fly.wait(app, machine.id, ("destroyed",), machine.instance_id, DESTROY_CONFIRM_S,
                                    retry_for=DESTROY_CONFIRM_S)  # fmt: skip
            return "destroyed" if answer is not None else ""
        except FlyAPIError as error:
            if error.status_code == 404:
                return "destroyed" if accepted else "already_gone"
            try:
                if not may_pass(error):
                    raise
                await asking.wait_out(error)
            except FlyAPIError:
                log.warning("destroying machine %s: %s", machine.id, error)
                return ""
