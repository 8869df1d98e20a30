"""Bytes from a child, cut into lines that can be handled and kept in a file that cannot grow for ever.

Neither holds more than a fixed amount, whatever the child prints. What the lines mean is in `conversation`,
how they look in the log in `rendering`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Callable

from flaude_guest.changeset import open_private

if TYPE_CHECKING:
    from pathlib import Path

EVENT_MAX_BYTES = 8 * 1024 * 1024
TEXT_LINE_MAX_BYTES = 64 * 1024
TRANSCRIPT_MAX_BYTES = 64 * 1024 * 1024 - 256
"""With the closing note at most 64 MiB, the largest file the host takes."""


class Lines:
    """Calls `line(data, lost)` for each line.

    Of a line over `limit` bytes only the start is kept and `lost` counts the rest; with `whole` it comes in
    several calls instead, cut between characters, and nothing is lost.
    """

    def __init__(self, line: Callable[[bytes, int], None], limit: int, *, whole: bool = False) -> None:
        self._line = line
        self._limit = limit
        self._whole = whole
        self._held = bytearray()
        self._lost = 0

    def feed(self, data: bytes) -> None:
        start = 0
        while True:
            end = data.find(b"\n", start)
            if end < 0:
                self._hold(data[start:])
                return
            self._hold(data[start:end])
            self._emit()
            start = end + 1

    def finish(self) -> None:
        """What came after the last newline is a line too."""
        if self._held or self._lost:
            self._emit()

    def _hold(self, part: bytes) -> None:
        while self._whole and len(self._held) + len(part) > self._limit:
            both = bytes(self._held) + part
            end = _character_start(both, self._limit)
            self._held, part = bytearray(both[:end]), both[end:]
            self._emit()
        room = self._limit - len(self._held)
        self._held += part[:room]
        self._lost += max(0, len(part) - room)

    def _emit(self) -> None:
        held, lost = bytes(self._held), self._lost
        self._held, self._lost = bytearray(), 0
        self._line(held, lost)


def _character_start(data: bytes, index: int) -> int:
    """The last place at or before `index` where a UTF-8 character may start."""
    starts = (at for at in range(index, index - 4, -1) if data[at] & 0xC0 != 0x80)
    return next(starts, index)


class Transcript:
    """The raw stream in a file of root's; when that is full its last line says so."""

    def __init__(self, path: Path, limit: int = TRANSCRIPT_MAX_BYTES) -> None:
        self._room = limit
        self._limit = limit
        self.cut = False
        self.failed = False
        try:
            self._file = open_private(path)
        except OSError:
            self.failed = True

    def write(self, data: bytes) -> None:
        if self.cut or self.failed:
            return
        self._put(data[: self._room])
        self._room -= len(data)
        if self._room < 0:
            self.cut = True
            note = {"type": "flaude", "subtype": "transcript_cut", "limit_bytes": self._limit}
            self._put(b"\n" + json.dumps(note).encode("ascii") + b"\n")

    def close(self) -> None:
        if self.failed:
            return
        try:
            self._file.close()
        except OSError:
            self.failed = True

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError:
            self.failed = True
