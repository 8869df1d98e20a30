"""Which files of a git patch hold a secret: in their names, their lines, or their deflated binary content.

What a secret is, is `redaction`'s to say. Read are patches as `git diff --binary --full-index --no-renames`
makes them, a slice at a time, whatever their size; what stands in them is decoded in `patch_content`.
https://git-scm.com/docs/diff-format#generate_patch_text_with_p
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final

from flaude_action.patch_content import PIECE_BYTES, Content, Search, binary_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BEGIN: Final = b"diff --git "
_HEADER = re.compile(
    rb"(?:old mode|new mode|deleted file mode|new file mode) [0-7]{6}\n"
    rb"|index [0-9a-f]{4,64}\.\.[0-9a-f]{4,64}(?: [0-7]{6})?\n"
    rb"|(?:---|\+\+\+) [^\n]+\n"
    rb"|Binary files [^\n]+ and /dev/null differ\n"  # deleted: its content is not there
)
_HUNK = re.compile(rb"@@ -[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@[^\n]*\n")
_BINARY: Final = b"GIT binary patch\n"
_BINARY_HUNK = re.compile(rb"(literal|delta) ([0-9]{1,12})\n")
_QUOTED = re.compile(rb'"((?:[^"\\\n]|\\.)*)" "((?:[^"\\\n]|\\.)*)"\n')
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
_LETTERS = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}


def files_with_secrets(patch: Path, found: Callable[[str], bool]) -> list[str]:
    """The paths of files in whose part of the patch `found` finds something, in the patch's order.

    Looked at are names and headers, lines of text that were added or removed (what was adjacent in either
    file is adjacent here, but over two hunks nothing is), and inflated binary content, as UTF-8 and as
    UTF-16. What stands whole in the lines around them, or in a hunk's head, is in the base's file, and no
    hit. Of a binary delta is looked at what it inserts: what it copies is not in the patch. A path that
    is no UTF-8 has surrogates in it, as in the changeset. `found` gets at most 256 KiB at a time.

    Raises OSError, and ValueError when this is no such patch or inflates to more than a gigabyte: then
    nothing is known of it.
    """
    search = Search(found)
    with patch.open("rb") as file:
        lines = _Lines(file)
        while lines.next:
            _read_file(lines, search)
    search.finish()
    return list(search.hits)


class _Lines:
    """The lines of a patch with the next one in sight; what is longer comes in pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.next = file.readline(PIECE_BYTES)

    def take(self) -> bytes:
        """The next line or piece; b"" at the end."""
        taken, self.next = self.next, self._file.readline(PIECE_BYTES)
        return taken

    def take_run(self, sign: bytes) -> tuple[bytes, int]:
        """Lines that begin so, at most a piece of them, without this; and how many there are."""
        run: list[bytes] = []
        line, size = self.next, 0
        while line[:1] == sign and line[-1:] == b"\n" and size < PIECE_BYTES:
            run.append(line[1:])
            size += len(line)
            line = self._file.readline(PIECE_BYTES)
        self.next = line
        return b"".join(run), len(run)

    def take_whole(self) -> bytes:
        """A line of ours or git's own, which is never long."""
        if not self.next.endswith(b"\n"):
            raise ValueError("a line of the patch is cut or too long")
        return self.take()


def _read_file(lines: _Lines, search: Search) -> None:
    """All of the patch that is about one file."""
    first = lines.take_whole()
    name = _name(first)
    search.begin(name.decode("utf-8", "surrogateescape"))
    search.add(name)
    search.add(first)
    while lines.next and not lines.next.startswith((b"@@ ", _BEGIN)) and lines.next != _BINARY:
        if not _HEADER.fullmatch(line := lines.take_whole()):
            raise ValueError("a header of the patch is of no known kind")
        search.add(line)
    if lines.next == _BINARY:
        lines.take()
        _read_binary(lines, search)
    while lines.next.startswith(b"@@ "):
        _read_hunk(lines, search)


def _name(line: bytes) -> bytes:
    """The path in `diff --git a/path b/path`, which may be quoted as C quotes strings.

    https://git-scm.com/docs/git-config#Documentation/git-config.txt-corequotePath
    """
    both = line[len(_BEGIN) :] if line.startswith(_BEGIN) else b""
    if quoted := _QUOTED.fullmatch(both):
        before, after = (_ESCAPE.sub(_unescaped, name) for name in quoted.groups())
    else:
        before, after = both[: len(both) // 2 - 1], both[len(both) // 2 : -1]
    if not before.startswith(b"a/") or not after.startswith(b"b/") or before[2:] != after[2:]:
        raise ValueError("the patch names no file, or two")
    return after[2:]


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    if len(code) == 3:
        return bytes([int(code, 8) & 0xFF])
    return _LETTERS.get(code, code)


def _read_hunk(lines: _Lines, search: Search) -> None:
    """Lines as either file had them: what was removed stands between two lines of the new one."""
    head = _HUNK.fullmatch(lines.take_whole())
    if head is None:
        raise ValueError("a hunk's head is of no known form")
    old, new = Content(search), Content(search)
    sides = {b" ": (old, new), b"-": (old,), b"+": (new,), b"\\": ()}
    left = {old: int(head[1] or 1), new: int(head[2] or 1)}
    while max(left.values()) > 0 or lines.next.startswith(b"\\"):
        sign = lines.next[:1]
        if sign not in sides:
            raise ValueError("a hunk ends too early")
        run, count = lines.take_run(sign)
        for side in sides[sign]:
            left[side] -= count or 1
            side.feed(run, context=sign == b" ")
        if not count:
            _read_long_line(lines, sides[sign], context=sign == b" ")
    if min(left.values()) < 0:
        raise ValueError("a hunk has more lines than it says")
    old.end()
    new.end()


def _read_long_line(lines: _Lines, sides: tuple[Content, ...], *, context: bool) -> None:
    """One that comes in pieces, without the column that says whose it is."""
    piece = lines.take()[1:]
    while True:
        for side in sides:
            side.feed(piece, context=context)
        if piece.endswith(b"\n"):
            return
        if not (piece := lines.take()):
            raise ValueError("the patch is cut")


def _read_binary(lines: _Lines, search: Search) -> None:
    """The new content and, as git writes it, a second time what leads back to the old one."""
    while head := _BINARY_HUNK.fullmatch(lines.next):
        lines.take()
        binary_content(_encoded(lines), int(head[2]), search, delta=head[1] == b"delta")


def _encoded(lines: _Lines) -> Iterator[bytes]:
    """The lines of base85 up to an empty one."""
    while (line := lines.take_whole()) != b"\n":
        yield line[:-1]
