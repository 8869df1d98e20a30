"""What the change cannot carry: each path with its size and why, so that it is named and the rest arrives.

Which path is refused is found by `comparison` and `changeset`; what a host says about it is the host's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Collection, Container, Iterable, Iterator

if TYPE_CHECKING:
    from flaude_guest.comparison import Change

TOO_LARGE, NAME_REFUSED, TOO_DEEP = "too_large", "name_refused", "too_deep"
UNREADABLE, TOO_MANY, GIT_REFUSED = "unreadable", "too_many", "git_refused"
NO_FILE, REPOSITORY = "no_file", "repository"

ROWS_MAX = 1000
"""As many are named in the changeset's document; all are counted."""
NEW_MAX = 20_000
"""New files of one change. Each is an object to write and a row of the document."""
OWN_MAX = 1000
"""As many of the files outside of any folder go before all folders, or half of what there may be."""


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

    A folder of dependencies that nobody ignored would else crowd out what was written by hand. So all top
    folders have the same share, as have the files outside of any, and what one does not need the others have.
    Of more folders than there may be files the first have one each. Paths that are not `among` those given,
    when some are, are passed over.
    """

    def __init__(self, most: int, among: Container[bytes] | None = None) -> None:
        self._most = most
        self._among = among
        self._found: dict[bytes, list[bytes]] = {}
        self._cut: dict[bytes, int] = {}
        self._unnamed = 0
        self._begun = bytearray()
        self._count = 0

    def feed(self, data: bytes) -> None:
        *names, rest = data.split(b"\0")
        for name in names:
            self._add(bytes(self._begun) + name)
            self._begun.clear()
        self._begun += rest

    def _add(self, path: bytes) -> None:
        if self._among is not None and path not in self._among:
            return
        top = path.partition(b"/")[0] if b"/" in path else b""
        self._found.setdefault(top, []).append(path)
        self._count += 1
        if self._count > 2 * self._most:  # so seldom that the time grows as the paths do
            self._cut_down()

    def _cut_down(self) -> None:
        """To what there may be. More paths make shares only smaller, so nothing is ever cut too early."""
        if self._count <= self._most:
            return
        sizes = {top: len(paths) for top, paths in self._found.items()}
        share, more = _share(sizes.values(), self._most)
        own = min(sizes.get(b"", 0), OWN_MAX, self._most // 2)
        if own > share:
            del sizes[b""]
            share, more = _share(sizes.values(), self._most - own)
            self._keep(b"", own)
        for top, size in sizes.items():
            extra = 1 if size > share and more else 0
            more -= extra
            self._keep(top, share + extra)

    def _keep(self, top: bytes, count: int) -> None:
        """As many of a folder's paths. What is cut is the folder's, and of files outside of any their own."""
        paths = self._found[top]
        cut = paths[count:]
        if not cut:
            return
        del paths[count:]
        if not paths:
            del self._found[top]
        self._count -= len(cut)
        for name, paths_cut in ((top + b"/", len(cut)),) if top else ((path, 1) for path in cut):
            if name in self._cut or len(self._cut) < self._most:
                self._cut[name] = self._cut.get(name, 0) + paths_cut
            else:
                self._unnamed += paths_cut

    @property
    def paths(self) -> list[bytes]:
        """Those that are kept."""
        self._cut_down()
        return [path for paths in self._found.values() for path in paths]

    @property
    def too_many(self) -> dict[bytes, int]:
        """How many were not kept, by folder with a slash at its end, or file; the fullest first."""
        self._cut_down()
        return dict(sorted(self._cut.items(), key=lambda row: -row[1]))

    @property
    def unnamed(self) -> int:
        """How many more were not kept, whose folders are too many to be remembered."""
        self._cut_down()
        return self._unnamed


def _share(sizes: Collection[int], room: int) -> tuple[int, int]:
    """How many each may have at most for all to have `room`, and how many of the larger one more."""
    waiting = len(sizes)
    for size in sorted(sizes):
        if size * waiting > room:
            return divmod(room, waiting)
        room -= size
        waiting -= 1
    return max(sizes, default=0), 0
