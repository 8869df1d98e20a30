"""All waiting in the program: one deadline handed down, one cancellation, pauses that both can cut short, and
patience with a Fly that does not answer.

What to do when a wait ends badly is decided by the callers; retries of HTTP calls are `fly`'s.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from flaude_action.errors import RunCancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flaude_action.errors import FlyAPIError

log = logging.getLogger(__name__)

PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
ASKED_PAUSE_S = 30.0
"""The longest pause that Fly's own `Retry-After` is believed for."""

T = TypeVar("T")


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock; `seconds` is what was given, for messages."""

    at: float
    seconds: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        return cls(at=clock() + seconds, seconds=seconds, clock=clock)

    @property
    def left(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - self.clock())

    @property
    def passed(self) -> bool:
        return self.left <= 0.0

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left when that is less: a slice for one call."""
        return min(seconds, self.left)


class Cancellation:
    """Whether we are asked to stop, and how hard.

    One `request()` asks for a graceful end (interrupt, collect, destroy); a second, or one with `at_once`,
    means destroy now. https://docs.github.com/en/actions/reference/workflow-cancellation-reference
    """

    def __init__(self) -> None:
        self.at_once = False
        self._asked = asyncio.Event()
        self._now = asyncio.Event()

    @property
    def requested(self) -> bool:
        return self._asked.is_set()

    def request(self, *, at_once: bool = False) -> None:
        if at_once or self.requested:
            self.at_once = True
            self._now.set()
        self._asked.set()

    async def wait(self) -> None:
        """Return when a stop was asked for."""
        await self._asked.wait()

    async def wait_at_once(self) -> None:
        """Return when no more patience is allowed."""
        await self._now.wait()


class Patience:
    """Trouble at Fly that may pass is waited out until a deadline, in pauses that grow to a few seconds.

    At a time it is waited out for no longer than `most_s`.

    The log is told once that Fly does not answer, when asking again was no help either, and once that it does
    again; not by a `quiet` one, where somebody else asks and tells. `trouble` is what is waited out now.
    """

    def __init__(
        self,
        deadline: Deadline | None = None,
        *,
        quiet: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.deadline = deadline or Deadline.after(math.inf)
        self.most_s = math.inf
        self.trouble: FlyAPIError | None = None
        self.quiet, self._sleep = quiet, sleep
        self._times, self._began = 0, 0.0

    async def wait_out(self, error: FlyAPIError) -> None:
        """Pause before asking again. Raises the error once the deadline has passed, or `most_s`."""
        clock = self.deadline.clock
        if self.deadline.passed or (self._times and clock() - self._began >= self.most_s):
            raise error
        self._times, self._began = self._times + 1, self._began if self._times else clock()
        self.trouble = error
        if self._times == 2 and not self.quiet:
            said = f"HTTP {error.status_code}" if error.status_code else "no answer"
            log.warning("Fly does not answer (%s); asking on until it does.", said)
        grown = min(PAUSE_S * 2 ** min(self._times - 1, 10), LONGEST_PAUSE_S)
        asked = min(error.retry_after or 0.0, ASKED_PAUSE_S)
        await self._sleep(self.deadline.within(max(grown, asked)))

    def end_after(self, seconds: float) -> None:
        """Bring the deadline nearer: there is no more than that to wait for."""
        sooner = Deadline.after(seconds, self.deadline.clock)
        self.deadline = min(self.deadline, sooner, key=lambda deadline: deadline.at)

    def answered(self) -> None:
        """Fly has answered, whatever it said."""
        if self._times >= 2 and not self.quiet:
            log.warning("Fly answers again, after %.0f s.", self.deadline.clock() - self._began)
        self._times, self.trouble = 0, None


async def pause(seconds: float, *until: asyncio.Event) -> bool:
    """Sleep; True when one of the events was set first (or already)."""
    if any(event.is_set() for event in until):
        return True
    if not until:
        await asyncio.sleep(seconds)
        return False
    waits = [asyncio.ensure_future(event.wait()) for event in until]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()


async def unless_cancelled(work: Awaitable[T], cancellation: Cancellation) -> T:
    """The work's result; RunCancelled once a stop is asked for and the work has ended its cleaning up."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(cancellation.wait())
    either: set[asyncio.Future[Any]] = {task, stop}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RunCancelled("cancelled")
        return task.result()
    finally:
        stop.cancel()
        task.cancel()
        await finish(asyncio.wait(either))
        if not task.cancelled():
            task.exception()  # retrieved: who stops the work does not want to hear how it failed


async def patiently(work: Awaitable[T], until: Awaitable[None], grace_s: float) -> T | None:
    """The work's result, however long it takes. When `until` comes first the work has `grace_s` more; then it
    is cancelled, and the result is None."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(until)
    either: set[asyncio.Future[Any]] = {task, stop}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([task], timeout=grace_s)
        return task.result() if task.done() else None
    finally:
        stop.cancel()
        task.cancel()
        await asyncio.wait(either)


async def finish(work: Awaitable[T]) -> T:
    """Run cleanup to its end even while the surrounding task is being cancelled, then let the cancel through.

    A plain `asyncio.shield` returns at once on the first cancel and leaves the work to a loop that may be
    closing; this waits for it.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:
            break  # the work's own failure: raised by task.result() below
    if cancelled is not None:
        task.exception()  # retrieved, so that it is not reported as lost
        raise cancelled
    return task.result()
