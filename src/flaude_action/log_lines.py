"""What the entries of a page are: lines, of which repeats are dropped and our guest's own are counted.

Fetching pages is `logs`'.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flaude_guest.protocol import parse_event_line

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

    @property
    def announced(self) -> bool:
        """Whether the result event has said how many lines there are."""
        return self._announced is not None

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
