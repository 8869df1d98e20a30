"""The patch as git prints it, kept in a file one part per path, so that single parts can be taken out again.

A part begins with a line `diff --git …`, which no other line can be: what a patch quotes begins with a blank,
`+`, `-` or `\\`, and what it encodes has no blanks. https://git-scm.com/docs/diff-format
"""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING, AbstractSet, Sequence

from flaude_guest.comparison import CollectFailed
from flaude_guest.left_out import GIT_REFUSED

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.comparison import Change, Comparison
    from flaude_guest.left_out import LeftOut

ATTEMPTS = 6
"""How often git may fail over the patch, each time with less to do."""
_HEAD = b"\ndiff --git "
_COPIED_BYTES = 1 << 20


class Patch:
    """A sink that keeps what it is fed in `file`. `paths` are those of the parts in their order."""

    def __init__(self, file: IO[bytes], paths: Sequence[bytes], most: int) -> None:
        self._file = file
        self._paths = paths
        self._most = most
        self._carry = b"\n"  # as if before the first line there were one more
        self._starts: list[int] = []
        self._sizes: list[int] = []

    def feed(self, data: bytes) -> None:
        data = self._carry + data
        start, at = 0, data.find(_HEAD)
        while at >= 0:
            self._put(data[start : at + 1])
            self._starts.append(self._file.tell())
            self._sizes.append(0)
            start, at = at + 1, data.find(_HEAD, at + 1)
        end = max(start, len(data) - len(_HEAD) + 1)
        self._put(data[start:end])
        self._carry = data[end:]

    def _put(self, data: bytes) -> None:
        if not self._sizes:
            return  # the line that there is not
        self._sizes[-1] += len(data)
        if self._sizes[-1] <= self._most:
            self._file.write(data)

    def finish(self) -> bool:
        """All of it has been fed; False when it is not what was asked for."""
        self._put(self._carry)
        self._carry = b""
        return len(self._sizes) == len(self._paths)

    def too_large(self) -> list[bytes]:
        """The largest parts' paths, as many as must go for the rest to fit in `most` bytes."""
        left = sum(self._sizes)
        found = []
        for number in sorted(range(len(self._sizes)), key=lambda each: -self._sizes[each]):
            if left <= self._most:
                break
            left -= self._sizes[number]
            found.append(self._paths[number])
        return found

    def write(self, target: IO[bytes], without: AbstractSet[bytes]) -> tuple[str, int]:
        """Copy what is kept, but for these paths; returns (sha256, bytes)."""
        digest, total = hashlib.sha256(), 0
        for path, start, size in zip(self._paths, self._starts, self._sizes):  # noqa: B905 - Python 3.10
            if path in without:
                continue
            self._file.seek(start)
            total += size
            while size:
                data = self._file.read(min(size, _COPIED_BYTES))
                target.write(data)
                digest.update(data)
                size -= len(data)
        return digest.hexdigest(), total


def taken(
    compare: Comparison, left_out: LeftOut, changes: list[Change], raw: IO[bytes], binary: Path, most: int
) -> tuple[Patch, list[Change]]:
    """The patch of these changes, or of as many as git manages: first as text, then as binary, then fewer.

    `raw` is where it is kept, `binary` a name for a file that says so. Raises CollectFailed.
    """
    binary.write_text("* -diff\n")
    for attempt in range(ATTEMPTS):
        # A path that changed its type is removed and added; what is deleted comes last.
        ordered = sorted(changes, key=lambda change: change.letter == "D")
        paths = [change.path for change in ordered for _ in range(2 if change.letter == "T" else 1)]
        patch = Patch(raw, paths, most)
        try:
            compare.patch(patch.feed, *([str(binary)] if attempt else []))
        except CollectFailed:
            if attempt + 1 == ATTEMPTS:
                raise
            changes = _fewer(compare, left_out, changes, 4 ** (attempt - 1)) if attempt else changes
            raw.seek(0)
            raw.truncate()
            continue
        if not patch.finish():
            raise CollectFailed("git's patch has not a part for each changed path.")
        return patch, changes
    raise AssertionError("the last attempt either returns or raises")


def _fewer(compare: Comparison, left_out: LeftOut, changes: list[Change], count: int) -> list[Change]:
    """Without the `count` that are the most work to compare."""
    weights = compare.weights(changes)
    for change in sorted(changes, key=lambda each: -weights[each.path])[:count]:
        left_out.add(change.path, GIT_REFUSED, change.size)
    kept = left_out.carried(changes)
    names = {change.path for change in kept}
    compare.unstage(change for change in changes if change.path not in names)
    return kept
