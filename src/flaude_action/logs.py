"""The machine's log as an async iterator: follows the cursor, drops repeats, knows whether it is complete.

A view, never a witness: a token that may not read logs, or a logs host that fails, costs nothing but lines.
Showing and keeping lines is `report`'s; what they prove is `log_witness`'s; the endpoint is `fly`'s.

The host answers pages of 100, oldest first, after a cursor that is a nanosecond time and may be made up:
https://fly.io/docs/monitoring/logs-api-options/
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flaude_action.errors import FlyAPIError
from flaude_action.waiting import Deadline, pause
from flaude_guest.protocol import parse_event_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flaude_action.fly import Fly

PAGE_LINES: Final = 100
DRAIN_S: Final = 20.0
"""The longest we read on after the run's end; flyctl waits as long."""
SINCE_MARGIN_S: Final = 60
REMEMBERED: Final = 2000
"""Repeats are looked for among at least so many of the newest lines."""

_EVENT_WORD = "[flaude:event:"
_PLATFORM_EXIT, _AGAIN = "machine exited with exit code", ", restarting"


class LogLine(NamedTuple):
    """One entry as sent (all of it untrusted). `provider` is "app" for the workload and Fly's init, "runner"
    and others for the platform, "" when Fly does not say."""

    timestamp: str
    message: str
    provider: str
    level: str
    instance: str
    region: str
    id: str


@dataclass(frozen=True)
class Pace:
    """Seconds between polls: at once after a full page, `quick` after lines, then slower up to `quiet`."""

    quick: float = 0.2
    quiet: float = 1.0
    trouble: float = 5.0
    drain: float = DRAIN_S


class LogFollower:
    """The lines of one machine, oldest first, from its creation until `end` was called and the rest is read.

    Iterate once, over lines or over `pages()`. `refused` says why reading is not allowed ("" when it is);
    `errors` counts polls without an answer. `created_at` is the machine's, as Fly gave it: without it, at
    most the newest 100 lines of the past come.
    """

    def __init__(
        self, fly: Fly, app: str, machine_id: str, created_at: str = "", *, pace: Pace | None = None
    ):
        self.refused = ""
        self.errors = 0
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

    @property
    def guest_lines(self) -> int:
        """How many lines of the guest's own were read, from its boot event on."""
        return self._count.lines

    def end(self, expected_lines: int | None = None) -> None:
        """The run is over: read on until the guest's last line is here, for at most 20 s.

        `expected_lines` is the result document's `lines`; None when there is no document, then the result
        event ends the reading, or the platform's own last word when nothing follows it.
        """
        self._expected = expected_lines
        if self._drain is None:
            self._drain = Deadline.after(self._pace.drain)
            if self._poll_limit is not None:
                self._poll_limit.reschedule(asyncio.get_running_loop().time() + self._pace.drain)
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
            if self._finished(quiet=entries is not None and not lines):
                return
            wait = self._next_wait(wait, entries, got_lines=bool(lines))
            if self._drain is not None:
                await asyncio.sleep(self._drain.within(wait))
            elif await pause(wait, self._ended):
                wait = self._pace.quick

    async def _poll(self) -> list[Any] | None:
        """The next page's entries; None when there was no answer."""
        try:
            async with asyncio.timeout(None if self._drain is None else self._drain.left) as self._poll_limit:
                page = await self._fly.logs_page(self._app, self._machine_id, self._token)
        except FlyAPIError as error:
            self.errors += 1
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
        return (self._expected is None and self._read_out) or self._drain.passed

    def _next_wait(self, wait: float, entries: list[Any] | None, *, got_lines: bool) -> float:
        if entries is None:
            return min(max(wait, self._pace.quick) * 2, self._pace.trouble)
        if got_lines:
            return 0.0 if len(entries) >= PAGE_LINES else self._pace.quick
        return min(max(wait, self._pace.quick) * 1.5, self._pace.quiet)


class GuestLines:
    """Counts the lines from the guest's boot event to its result event; notes the platform's last word."""

    def __init__(self) -> None:
        self.lines = 0
        self.booted = False
        self.platform_exit = False
        self._at_result: int | None = None
        self._announced: int | None = None

    def see(self, line: LogLine) -> None:
        if line.provider not in ("app", ""):
            if line.message.startswith(_PLATFORM_EXIT):
                self.platform_exit = not line.message.endswith(_AGAIN)
            return
        event = parse_event_line(line.message) if line.message.startswith(_EVENT_WORD) else None
        kind = event.get("type") if event else None
        self.booted = self.booted or kind == "boot"
        if not self.booted:
            return
        self.lines += 1 + line.message.rstrip("\n").count("\n")
        if event and kind == "result" and self._at_result is None:
            announced = event.get("lines")
            self._announced = announced if isinstance(announced, int) else None
            self._at_result = self.lines

    def whole(self, expected: int | None) -> bool:
        """True when as many lines came as the result document (or else the result event) says."""
        due = self._announced if expected is None else expected
        return self._at_result is not None and due is not None and self._at_result >= due


class Repeats:
    """Drops lines that came before: the cursor is a time, so pages overlap where lines share it.

    A line with an id is itself only once. Lines without one may be truly equal (two blank lines in the same
    millisecond), so of those a page may repeat as many as came earlier, and the rest is new. Only hashes are
    kept, in two halves that take turns, so memory stays flat.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._new: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def drop(self, lines: list[LogLine]) -> list[LogLine]:
        """The lines of one page that are new."""
        new, old = self._new, self._old
        repeated: dict[int, int] = {}
        kept: dict[int, int] = {}
        fresh = []
        for line in lines:
            key = hash((line.id, line.timestamp, line.message, line.provider))
            known = new.get(key, 0) + old.get(key, 0)
            if line.id:
                if known or key in kept:
                    continue
            elif repeated.get(key, 0) < known:
                repeated[key] = repeated.get(key, 0) + 1
                continue
            kept[key] = kept.get(key, 0) + 1
            fresh.append(line)
        for key, copies in kept.items():
            new[key] = new.get(key, 0) + copies
        if len(new) >= self._remembered:
            self._old, self._new = new, {}
        return fresh


def parse_entry(entry: object) -> LogLine | None:
    """One entry of a page, however odd its members; None when it is no entry at all."""
    attributes = entry.get("attributes") if isinstance(entry, dict) else None
    if not isinstance(attributes, dict) or not isinstance(entry, dict):
        return None
    get = attributes.get
    meta = get("meta")
    event = meta.get("event") if isinstance(meta, dict) else None
    return LogLine(
        _text(get("timestamp")),
        _text(get("message")),
        _text(event.get("provider")) if isinstance(event, dict) else "",
        _text(get("level")),
        _text(get("instance")),
        _text(get("region")),
        _text(entry.get("id")),
    )


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else ""


def _token_at(entries: list[Any]) -> str:
    """A cursor for a page that came without one: its last line's time; that line repeats and is dropped."""
    last = parse_entry(entries[-1]) if entries else None
    return _token_before(last.timestamp, 0) if last is not None else ""


def _token_before(timestamp: str, seconds: int) -> str:
    """Nanoseconds since 1970 of an RFC 3339 time, exactly (a float would not be), less `seconds`."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", timestamp)
    if not found:
        return ""
    try:
        whole = datetime.fromisoformat(found[1] + found[3])
    except ValueError:
        return ""
    nanoseconds = int((found[2] or "0").ljust(9, "0"))
    return str((int(whole.timestamp()) - seconds) * 1_000_000_000 + nanoseconds)
