"""Where log lines go: whole into the log file, the newest into a short tail, each batch to the step log.

Reading them from Fly is `logs`'; making them harmless for the step log is the `show` callback's.
"""

from __future__ import annotations

import re
from collections import deque
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flaude_action.logs import LogLine

TAIL_LINES: Final = 200
TAIL_LINE_CHARS: Final = 2000

# Controls but tab, line separators, bidi overrides, lone surrogates: what would hide text from a reader of
# the file, or cannot be written at all.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class LogSink:
    r"""Takes lines a page at a time, so that the file is whole after each page even if we die.

    A line of the file is `<timestamp> <provider> <text>`; a message of several lines becomes as many, and
    what cannot be written stands there as `\x1b` or `\u202e`. A full disk costs the file (`file_error` says
    so), never the run. `show` gets each batch of lines as they came.
    """

    def __init__(self, file: IO[bytes] | None, show: Callable[[Sequence[str]], None], tail: int = TAIL_LINES):
        self.file_error = ""
        self.lines = 0
        self._file = file
        self._show = show
        self._tail: deque[str] = deque(maxlen=tail)

    @property
    def tail(self) -> list[str]:
        """The newest lines, oldest first, each cut at 2000 characters; as they came, so untrusted."""
        return list(self._tail)

    def write(self, page: Sequence[LogLine]) -> None:
        shown: list[str] = []
        written: list[str] = []
        for line in page:
            head = f"{line.timestamp} {line.provider or '-'} "
            for part in _lines_of(line.message):
                shown.append(part)
                written.append(head + part)
        self.lines += len(shown)
        self._tail.extend(part[:TAIL_LINE_CHARS] for part in shown[-(self._tail.maxlen or 0) :])
        self._append(written)
        self._show(shown)

    def close(self) -> None:
        """Close the file; writing goes on to the tail and to `show` only."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self.file_error = self.file_error or (error.strerror or type(error).__name__)

    def _append(self, lines: list[str]) -> None:
        if self._file is None or not lines:
            return
        text = "\n".join(map(_writable, lines)) + "\n"
        try:
            self._file.write(text.encode("utf-8"))
            self._file.flush()
        except OSError as error:
            self.file_error = error.strerror or type(error).__name__
            self.close()


def _lines_of(message: str) -> list[str]:
    if "\n" not in message:
        return [message]
    parts = message.replace("\r\n", "\n").split("\n")
    return parts[:-1] if parts[-1] == "" else parts


def _writable(text: str) -> str:
    # Nearly all lines are plain, and isprintable is many times faster than the search.
    return text if text.isprintable() else _UNWRITABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")
