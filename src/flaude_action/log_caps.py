"""How much of a machine's log is kept: its beginning as it comes, and its newest lines until the end.

A machine can print for as long as it likes; neither the runner's disk nor the step's page is to be full of
that. Which lines go where is `report`'s.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MB = 1024 * 1024

LEFT_OUT = "[flaude-action: {lines} lines of {size} bytes are left out here]"
FILE_FULL = "The log has become too long for its file, which gets only its last lines from here on."
LOG_FULL = (
    "The log has become too long for this page: `log_file` has more of it, and its end will follow here."
)
QUOTES_FULL = "This has become too long for this page; its end will follow."


@dataclass(frozen=True)
class Cap:
    """At most so much of a text: bytes of UTF-8 at its beginning and at its end, and lines at its end."""

    head: int
    tail: int
    tail_lines: int = sys.maxsize


@dataclass(frozen=True)
class LogCaps:
    """For the log file, for what the step log shows of it, and for what else it quotes: a build, an API."""

    file: Cap = Cap(32 * MB, 4 * MB)
    shown: Cap = Cap(4 * MB, 64 * 1024, 100)
    quoted: Cap = Cap(1 * MB, 64 * 1024, 100)


class _Block(NamedTuple):
    """Lines of one call, as one text: a list of them would take ten times as much."""

    text: str
    lines: int
    size: int


class CappedLines:
    """Lines on their way to `write`, which gets one text of them at a time, without the last line's end.

    Those of the beginning are written at once, the last ones by `end`; `full` is called once, in between.
    Of what is waiting it holds at most what the cap says, and one call's lines.
    """

    def __init__(self, cap: Cap, write: Callable[[str], None], full: Callable[[], None]) -> None:
        self._cap, self._write, self._full = cap, write, full
        self._room = cap.head
        self._kept: deque[_Block] = deque()
        self._lines = self._size = self._left_lines = self._left_size = 0

    def add(self, lines: Sequence[str]) -> None:
        text = "\n".join(lines)
        size = _size(text)
        if lines and 0 <= size <= self._room:
            self._room -= size
            self._write(text)
        elif lines:
            self._add_late(lines)

    def end(self, left_out: Callable[[int, int], None]) -> None:
        """Write the last lines; `left_out` is told before how many lines, and bytes, are missing there."""
        self._trim()
        if self._left_lines:
            left_out(self._left_lines, self._left_size)
        while self._kept:
            self._write(self._kept.popleft().text)
        self._lines = self._size = self._left_lines = self._left_size = 0

    def _add_late(self, lines: Sequence[str]) -> None:
        """More lines than there is room for."""
        count = 0
        if self._room >= 0:
            while (size := _size(lines[count])) <= self._room:
                self._room -= size
                count += 1
            self._room = -1
            if count:
                self._write("\n".join(lines[:count]))
            self._full()
        self._keep(lines[count:])
        while len(self._kept) > 1 and self._is_enough_without(self._kept[0]):
            self._leave_out(self._kept.popleft())

    def _keep(self, lines: Sequence[str], *, first: bool = False) -> _Block:
        text = "\n".join(lines)
        block = _Block(text, len(lines), _size(text))
        (self._kept.appendleft if first else self._kept.append)(block)
        self._lines += block.lines
        self._size += block.size
        return block

    def _is_enough_without(self, block: _Block) -> bool:
        cap = self._cap
        return self._size - block.size >= cap.tail or self._lines - block.lines >= cap.tail_lines

    def _leave_out(self, block: _Block) -> None:
        self._lines -= block.lines
        self._size -= block.size
        self._left_lines += block.lines
        self._left_size += block.size

    def _trim(self) -> None:
        """What is too much is in the oldest block: of that, only its last lines are kept."""
        if self._size <= self._cap.tail and self._lines <= self._cap.tail_lines:
            return
        oldest = self._kept.popleft()
        self._leave_out(oldest)
        lines = oldest.text.split("\n")
        first, room = len(lines), self._cap.tail - self._size
        least = max(0, first + self._lines - self._cap.tail_lines)
        while first > least and (size := _size(lines[first - 1])) <= room:
            first -= 1
            room -= size
        if first < len(lines):
            kept = self._keep(lines[first:], first=True)
            self._left_lines -= kept.lines
            self._left_size -= kept.size


def _size(text: str) -> int:
    """Bytes of the text and its last line's end."""
    return (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) + 1
