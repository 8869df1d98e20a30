"""The machine's log as an async iterator: follows the cursor, drops repeats, knows whether it is complete.

A view, never a witness: a token that may not read logs, or a logs host that fails, costs nothing but lines.
What a line is, is `log_lines`'; what lines prove `log_witness`'s; showing and keeping them `report`'s.

The host answers pages of 100, oldest first, after a cursor that is a nanosecond time and may be made up:
https://fly.io/docs/monitoring/logs-api-options/
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flaude_action.errors import FlyAPIError
from flaude_action.fly_fields import nanoseconds
from flaude_action.log_lines import GuestLines, Repeats, parse_entry
from flaude_action.waiting import Deadline, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flaude_action.fly import Fly
    from flaude_action.log_lines import LogLine

PAGE_LINES: Final = 100
DRAIN_S: Final = 20.0
"""The longest we read on after the run's end; flyctl waits as long."""
SILENCE_S: Final = 3.0
"""How long nothing new may come then, where the verdict does not wait for the log and no line count is owed.
Lines have been seen to lag by 1 to 3 s."""
SINCE_MARGIN_S: Final = 60


@dataclass(frozen=True)
class Pace:
    """Seconds between polls: at once after a full page, `quick` after lines, then slower up to `quiet`."""

    quick: float = 0.2
    quiet: float = 1.0
    trouble: float = 5.0
    drain: float = DRAIN_S
    silence: float = SILENCE_S


class LogFollower:
    """The lines of one machine, oldest first, from its creation until `end` was called and the rest is read.

    Iterate once, over lines or over `pages()`. `refused` says why reading is not allowed ("" when it is).
    `created_at` is the machine's, as Fly gave it: without it, at most the newest 100 lines of the past come.
    """

    def __init__(
        self, fly: Fly, app: str, machine_id: str, created_at: str = "", *, pace: Pace | None = None
    ):
        self.refused = ""
        self._fly = fly
        self._app = app
        self._machine_id = machine_id
        self._pace = pace or Pace()
        self._token = _token_before(created_at, SINCE_MARGIN_S)
        self._from_start = bool(self._token)
        self._read_out = False
        self._repeats = Repeats()
        self._count = GuestLines()
        self._expected: int | None = None
        self._ended = asyncio.Event()
        self._drain: Deadline | None = None
        self._silence: Deadline | None = None
        self._poll_limit: asyncio.Timeout | None = None

    @property
    def complete(self) -> bool:
        """True when nothing can be missing.

        For our guest: every line from its boot event to its result event is here. For an image without our
        guest: read from the creation on, past the platform's own last word, until no more came.
        """
        if self.refused:
            return False
        if self._expected is not None or self._count.booted:
            return self._count.whole(self._expected)
        return self._from_start and self._read_out

    def end(self, expected_lines: int | None = None, *, decided: bool = False) -> None:
        """The run is over: read on until the guest's last line is here, for at most 20 s.

        `expected_lines` is the result document's `lines`; None when there is no document, then the result
        event ends the reading, or the platform's own last word when nothing follows it. Where that is not
        owed and the verdict is `decided` without the log, so do 3 s in which nothing new comes.
        """
        self._expected = expected_lines
        if self._drain is None:
            self._drain = Deadline.after(self._pace.drain)
            if decided and expected_lines is None:
                self._silence = Deadline.after(self._pace.silence)
            if self._poll_limit is not None:
                self._poll_limit.reschedule(asyncio.get_running_loop().time() + self._left())
        self._ended.set()

    async def __aiter__(self) -> AsyncIterator[LogLine]:
        async for page in self.pages():
            for line in page:
                yield line

    async def pages(self) -> AsyncIterator[list[LogLine]]:
        """The same lines in the pages they came in (repeats dropped, never empty). Never raises."""
        wait = self._pace.quick
        while not self.refused:
            entries = await self._poll()
            lines = self._take(entries or [])
            if lines:
                yield lines
                if self._silence is not None:
                    self._silence = Deadline.after(self._pace.silence)
            if self._finished(quiet=entries is not None and not lines):
                return
            wait = self._next_wait(wait, entries, got_lines=bool(lines))
            if self._drain is not None:
                await asyncio.sleep(min(wait, self._left()))
            elif await pause(wait, self._ended):
                wait = self._pace.quick

    async def _poll(self) -> list[Any] | None:
        """The next page's entries; None when there was no answer."""
        try:
            async with asyncio.timeout(None if self._drain is None else self._left()) as self._poll_limit:
                page = await self._fly.logs_page(self._app, self._machine_id, self._token)
        except FlyAPIError as error:
            if error.status_code == 400:
                # Not a cursor after all: go on with the newest lines.
                self._token, self._from_start = "", False
            if error.status_code in (401, 403, 404):
                self.refused = f"HTTP {error.status_code}"
            return None
        except TimeoutError:
            return None  # the drain is over
        finally:
            self._poll_limit = None
        self._token = page.next_token or _token_at(page.entries) or self._token
        return page.entries

    def _take(self, entries: list[Any]) -> list[LogLine]:
        ours = (self._machine_id, "")
        parsed = (parse_entry(entry) for entry in entries)
        lines = self._repeats.drop([line for line in parsed if line is not None and line.instance in ours])
        for line in lines:
            self._count.see(line)
        return lines

    def _finished(self, *, quiet: bool) -> bool:
        if self._drain is None:
            return False
        if self._count.whole(self._expected):
            return True
        self._read_out = quiet and self._count.platform_exit
        return (self._expected is None and self._read_out) or self._left() <= 0

    def _left(self) -> float:
        """Seconds in which lines may still come, once the run is over; a count that is owed is waited for."""
        deadlines = [each for each in (self._drain, self._silence) if each is not None]
        if self._count.announced:
            deadlines = deadlines[:1]
        return min(each.left for each in deadlines)

    def _next_wait(self, wait: float, entries: list[Any] | None, *, got_lines: bool) -> float:
        if entries is None:
            return min(max(wait, self._pace.quick) * 2, self._pace.trouble)
        if got_lines:
            return 0.0 if len(entries) >= PAGE_LINES else self._pace.quick
        return min(max(wait, self._pace.quick) * 1.5, self._pace.quiet)


def _token_at(entries: list[Any]) -> str:
    """A cursor for a page that came without one: its last line's time; that line repeats and is dropped."""
    last = parse_entry(entries[-1]) if entries else None
    return _token_before(last.timestamp, 0) if last is not None else ""


def _token_before(timestamp: str, seconds: int) -> str:
    """The cursor for a moment so many seconds before an RFC 3339 time; "" when it is none."""
    moment = nanoseconds(timestamp)
    return "" if moment is None else str(moment - seconds * 1_000_000_000)
