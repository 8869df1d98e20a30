"""The one writer of the guest's stdout: our own lines, event lines, and everybody else's text made harmless.

The host counts these lines to know whether the log it saw is complete. What agent events look like as text is
`stream`'s business; the words of event and exit lines are `protocol`'s.
"""

from __future__ import annotations

import os
import re
import threading
from typing import Any, Iterable, Iterator

from flaude_guest import protocol
from flaude_guest.secrecy import NOTHING, Secrecy

LINE_MAX_BYTES = 8 * 1024
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# C0 without tab, DEL, C1, line and paragraph separators, and the marks that reorder text on a screen.
_CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def seen(text: str) -> str:
    """What a terminal would show of one line."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def neutral(text: str, secrecy: Secrecy = NOTHING) -> str:
    """Somebody else's text as one line, of any length: no control characters, no secrets, no markers of ours.

    Controls go first, because removing one could join the two halves of a marker or a secret.
    """
    visible = secrecy.hide(seen(text))
    return protocol.break_markers(visible).encode("utf-8", "replace").decode("utf-8")


def pieces(line: str) -> Iterator[str]:
    """A line as lines of at most 8 KiB each: a log's reader must get all of it, and Fly limits lines."""
    data = line.encode("utf-8")
    start = 0
    while len(data) - start > LINE_MAX_BYTES:
        kept = data[start : start + LINE_MAX_BYTES].decode("utf-8", "ignore")
        yield kept
        start += len(kept.encode("utf-8"))
    yield data[start:].decode("utf-8")


class Output:
    """Lines to a file descriptor, counted. A reader that went away is not an error: the work goes on.

    `secrecy` is for everybody who shortens text before it comes here, or tells it elsewhere.
    """

    def __init__(self, fd: int = 1) -> None:
        self.lines = 0
        self.secrecy = NOTHING
        self._fd = fd
        self._lock = threading.Lock()
        self._broken = False

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on show these as ***."""
        self.secrecy = Secrecy(secrets)

    def say(self, text: str) -> None:
        """A line of our own words."""
        for piece in pieces("[flaude] " + neutral(text, self.secrecy)):
            self._write(piece)

    def pass_on(self, text: str) -> str:
        """A line of somebody else's text, in as many lines as it needs; returns it as made harmless."""
        line = neutral(text, self.secrecy)
        for piece in pieces(line):
            self._write(piece)
        return line

    def event(self, event: dict[str, Any]) -> None:
        self._write(protocol.event_line(event))

    def exit(self, code: int) -> None:
        """The last word; nothing is written after it."""
        with self._lock:
            self._put(protocol.exit_line(code))
            self._broken = True

    def _write(self, line: str) -> None:
        with self._lock:
            self._put(line)

    def _put(self, line: str) -> None:
        if self._broken:
            return
        data = memoryview((line + "\n").encode("utf-8", "replace"))
        self.lines += 1
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._broken = True
