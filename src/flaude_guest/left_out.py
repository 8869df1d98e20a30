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
OWN = b""
"""The repository's own folder, among those that have names."""
SMALL = 8
"""A folder with so few new files loses none to fuller ones."""
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

    A folder of dependencies that nobody ignored would else crowd out what was written by hand. Where no
    folder is full there are too many of them: then what came first stays, but files of the repository's own
    folder always find room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[bytes, list[bytes]] = {}
        self._full: dict[bytes, int] = {}
        self._begun = bytearray()
        self._count = 0
        self._all_small = False

    def feed(self, data: bytes) -> None:
        *names, rest = data.split(b"\0")
        for name in names:
            self._add(bytes(self._begun) + name)
            self._begun.clear()
        self._begun += rest

    def _add(self, path: bytes) -> None:
        top = path.partition(b"/")[0] if b"/" in path else OWN
        if top in self._full and (top != OWN or not self._all_small):
            self._full[top] += 1
        elif self._count < self._most or self._makes_room(top):
            self._found.setdefault(top, []).append(path)
            self._count += 1
        else:
            self._full[top] = self._full.get(top, 0) + 1

    def _makes_room(self, top: bytes) -> bool:
        """Whether one more path of this folder has a place now."""
        if not self._all_small and self._halve_the_fullest():
            return top not in self._full
        self._all_small = True
        others = next((each for each in reversed(self._found) if each != OWN), None)
        if top != OWN or others is None:
            return False
        self._drop(others, 1)
        if not self._found[others]:
            del self._found[others]
        return True

    def _halve_the_fullest(self) -> bool:
        """Those with more than half as many as the fullest has, so that it is seldom done.

        False when none has so many files that it may lose some.
        """
        sizes = {top: len(paths) for top, paths in self._found.items() if len(paths) > SMALL}
        if len(sizes) > 1:
            sizes.pop(OWN, None)
        least = max(sizes.values(), default=0) // 2
        for top, size in sizes.items():
            if size > least:
                self._drop(top, size - size // 2)
        return bool(sizes)

    def _drop(self, top: bytes, count: int) -> None:
        """The last ones that came."""
        del self._found[top][-count:]
        self._full[top] = self._full.get(top, 0) + count
        self._count -= count

    @property
    def paths(self) -> list[bytes]:
        return [path for paths in self._found.values() for path in paths]

    @property
    def too_many(self) -> dict[bytes, int]:
        """How many were not kept, by folder; b"" is the repository's own."""
        return self._full
