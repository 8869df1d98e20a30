"""Places in the repository that a failed command complained about, read from the end of its output.

Three notations cover most tools: pytest's, tsc's, and `file:line[:column]: message`, which GCC began. Only
what names a line of a file in the checkout counts. What the host does with a finding is its business.
"""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from typing import TYPE_CHECKING, Any, Iterable, Iterator

if TYPE_CHECKING:
    from pathlib import Path

FINDINGS_MAX = 9
"""GitHub keeps ten annotations of a level per step, and the first is the failure itself."""
TAIL_BYTES = 256 * 1024
FILE_CHARS = 300
COUNTED_BYTES = 4 * 1024 * 1024
LINES_MAX = 9_999_999
MESSAGE_CHARS = 500

_FILE = r"(?P<file>[^\s:()'\"<>|][^:()'\"<>|]*?)"
# src/a.ts(3,5): error TS2322: … and, with colours on, src/a.ts:3:5 - error TS2322: …
# https://www.typescriptlang.org/tsconfig/#pretty
_TSC = re.compile(
    r"^" + _FILE + r"(?:\((?P<line>\d+),(?P<column>\d+)\): |:(?P<line2>\d+):(?P<column2>\d+) - )"
    r"(?P<message>error TS\d+: .+)$"
)
# https://www.gnu.org/prep/standards/html_node/Errors.html
_GCC = re.compile(r"^" + _FILE + r":(?P<line>\d+)(?::(?P<column>\d+))?: +(?P<message>\S.*)$")
_NOT_AN_ERROR = re.compile(r"^(?:warning|note|info|remark|hint)\b", re.IGNORECASE)
# pytest: a frame of the short style, the lines that say what failed, the head of a test's section.
# https://docs.pytest.org/en/stable/how-to/output.html
_FRAME = re.compile(r"^in \S+$")
_EXPLAINED = re.compile(r"^E   +(?P<message>\S.*)$")
_SECTION = re.compile(r"^(?:_{3,}|={3,}) .* (?:_{3,}|={3,})$")


class Tail:
    """The newest lines, as many as fit in `limit` bytes."""

    def __init__(self, limit: int = TAIL_BYTES) -> None:
        self._lines: deque[str] = deque()
        self._room = limit

    def add(self, line: str) -> None:
        self._lines.append(line)
        self._room -= _size(line)
        while self._room < 0:
            self._room += _size(self._lines.popleft())

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)


def find(lines: Iterable[str], root: Path) -> list[dict[str, Any]]:
    """The first places in `root`, each once: `{file, line, column, message}`, the file relative to `root`.

    A column that is not known is None. Lines must have no escape sequences left.
    """
    try:
        root = root.resolve()
    except (OSError, RuntimeError):  # the command made a loop of links of it
        return []
    found: dict[tuple[str, int], dict[str, Any]] = {}
    lengths: dict[str, int] = {}
    for name, line, column, message in _places(lines):
        file = _within(root, name)
        if file and file not in lengths:
            lengths[file] = _length(root / file)
        if file and 0 < line <= lengths[file]:
            one = {"file": file, "line": line, "column": column, "message": message[:MESSAGE_CHARS]}
            found.setdefault((file, line), one)
        if len(found) == FINDINGS_MAX:
            break
    return list(found.values())


def _places(lines: Iterable[str]) -> Iterator[tuple[str, int, int | None, str]]:
    """(file, line, column, message) of every complaint; in pytest's, what it says is told on other lines."""
    explained, frame = "", None
    for text in lines:
        if _SECTION.match(text):
            explained, frame = "", None
            continue
        told = _EXPLAINED.match(text)
        if told:
            if frame is not None:
                yield (*frame, told["message"])
                frame = None
            explained = explained or told["message"]
            continue
        seen = _TSC.match(text) or _GCC.match(text)
        if seen is None:
            continue
        message = seen["message"]
        groups = seen.groupdict()
        line, column = groups["line"] or groups["line2"], groups["column"] or groups.get("column2")
        place = (seen["file"].strip(), _number(line) or 0, _number(column))
        if _FRAME.match(message):
            frame, explained = place, ""
        elif explained:
            yield (*place, explained)
            explained = ""
        elif not _NOT_AN_ERROR.match(message):
            yield (*place, message)


def _within(root: Path, name: str) -> str:
    """The name of an existing file below `root` and not git's own, relative to it; '' for all else."""
    if len(name) > FILE_CHARS:
        return ""
    try:
        path = (root / name).resolve()
        inside = path.relative_to(root)
        return str(inside) if path.is_file() and ".git" not in inside.parts else ""
    except (OSError, ValueError, RuntimeError):  # too long, outside, a loop of links
        return ""


def _length(path: Path) -> int:
    """The last line that a tool may speak of: of its end, parsers say that it is one line further on."""
    try:
        # Not waited for: what was a file when we looked may be a pipe by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return 0
            data = file.read(COUNTED_BYTES)
    except OSError:
        return 0
    if len(data) == COUNTED_BYTES:
        return LINES_MAX
    return data.count(b"\n") + (1 if data.endswith(b"\n") or not data else 2)


def _number(digits: str | None) -> int | None:
    return int(digits) if digits and len(digits) < 8 else None


def _size(line: str) -> int:
    return len(line) * 4 + 64
