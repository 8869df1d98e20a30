"""What the change cannot carry: each path with its size and why, so that it is named and the rest arrives.

Which path is refused is found by `comparison` and `changeset`; what a host says about it is the host's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Iterator

if TYPE_CHECKING:
    from flaude_guest.comparison import Change

TOO_LARGE, NAME_REFUSED, TOO_DEEP = "too_large", "name_refused", "too_deep"
UNREADABLE, TOO_MANY, GIT_REFUSED = "unreadable", "too_many", "git_refused"

ROWS_MAX = 1000
"""As many are named in the changeset's document; all are counted."""
NEW_MAX = 20_000
"""New files of one change. Each is an object to write and a row of the document."""


class LeftOut:
    """Paths that the work has and the change has not, in the order in which they were found."""

    def __init__(self) -> None:
        self._rows: dict[bytes, tuple[str, int]] = {}
        self._unnamed = 0

    def add(self, path: bytes, why: str, size: int = 0) -> None:
        self._rows.setdefault(path, (why, size))

    def add_unnamed(self, count: int) -> None:
        """Paths too many to be remembered."""
        self._unnamed += count

    def __contains__(self, path: bytes) -> bool:
        return path in self._rows

    @property
    def count(self) -> int:
        return len(self._rows) + self._unnamed

    def rows(self) -> list[dict[str, Any]]:
        """`{path, why, size}`, those that are merely too many last."""
        found = sorted(self._rows.items(), key=lambda row: row[1][0] == TOO_MANY)
        return [
            {"path": path.decode("utf-8", "surrogateescape"), "why": why, "size": size}
            for path, (why, size) in found[:ROWS_MAX]
        ]

    def carried(self, changes: Iterable[Change]) -> list[Change]:
        """What is left of the changes and can be applied: nothing can be put below a file that stays."""
        changes = [change for change in changes if change.path not in self._rows]
        held = self._held(change.path for change in changes if change.letter == "D")
        kept = []
        for change in changes:
            if any(folder in held for folder in folders_of(change.path)) and change.letter != "D":
                self.add(change.path, GIT_REFUSED, change.size)
            elif change.path not in held:
                kept.append(change)
        return kept

    def _held(self, deleted: Iterable[bytes]) -> set[bytes]:
        """Deleted paths in whose place is something that was left out: nothing may be said of them.

        What replaced a file can be a folder with something in it, and what replaced a folder a file.
        """
        if not self._rows:
            return set()
        above = {folder for path in self._rows for folder in folders_of(path)}
        return {
            path
            for path in deleted
            if path in above or any(folder in self._rows for folder in folders_of(path))
        }


def folders_of(path: bytes) -> Iterator[bytes]:
    """The folders that a path is in, the nearest first."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


class NewFiles:
    """New paths as git names them, each ended by NUL; of too many the fullest folder's go first.

    A folder of dependencies that nobody ignored would else crowd out what was written by hand.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[bytes, list[bytes]] = {}
        self._full: dict[bytes, int] = {}
        self._begun = bytearray()
        self._count = 0

    def feed(self, data: bytes) -> None:
        *names, rest = data.split(b"\0")
        for name in names:
            self._add(bytes(self._begun) + name)
            self._begun.clear()
        self._begun += rest

    def _add(self, path: bytes) -> None:
        top = path.partition(b"/")[0] if b"/" in path else b""
        if top in self._full:
            self._full[top] += 1
            return
        self._found.setdefault(top, []).append(path)
        self._count += 1
        if self._count > self._most:
            fullest = max(self._found, key=lambda each: len(self._found[each]))
            paths = self._found[fullest]
            kept = len(paths) // 2
            self._full[fullest] = len(paths) - kept
            self._count -= len(paths) - kept
            del paths[kept:]

    @property
    def paths(self) -> list[bytes]:
        return [path for paths in self._found.values() for path in paths]

    @property
    def too_many(self) -> dict[bytes, int]:
        """How many were not kept, by folder; b"" is the repository's own."""
        return self._full
