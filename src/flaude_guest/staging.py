"""An index brought to what a folder holds: tracked files as they are, plus new ones that are not ignored.

What git does not take, or must not be given, is noted in a `LeftOut` and passed over. How git is asked is in
`comparison`.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Iterable, Mapping, NamedTuple, Sequence

from flaude_guest import left_out
from flaude_guest.comparison import CollectFailed, ended, split
from flaude_guest.left_out import LeftOut, NewFiles, folders_of

if TYPE_CHECKING:
    from flaude_guest.comparison import Comparison

TOTAL_MAX_BYTES = 256 * 1024 * 1024
"""New content of one change: it is stored, read twice and packed in the time that there is for all."""
PATH_MAX_BYTES = 4095
"""https://man7.org/linux/man-pages/man7/path_resolution.7.html (PATH_MAX, with its NUL)"""
TRIES_S = 20.0
"""How long git is asked again, with fewer paths, to find those that it does not take."""

_REFUSED = "Ignoring path "
_STUMBLED = re.compile(r"Unable to process path (.+)|'(.+)'", re.DOTALL)
_NO_ROOM = ("No space left on device", "Disk quota exceeded")
_QUICK = ("core.looseCompression", "0")
"""For what is read once and thrown away. As git has it, it is the compression of patches too."""


class Differences(NamedTuple):
    """Paths in which folder and index differ."""

    gone: list[bytes]
    changed: list[bytes]
    new: list[bytes]


class Staging:
    """Works on a comparison's index. No file of more than `file_max` bytes is given to git.

    A repository in a folder that is older than `since`, in seconds of this machine's clock, is none of the
    agent's: it is passed over and counted.
    """

    def __init__(self, compare: Comparison, file_max: int, since: float) -> None:
        self._compare = compare
        self._file_max = file_max
        self._since = since
        self._few: frozenset[bytes] | None = None
        self.left_out = LeftOut()
        self.repositories_inside = 0

    def replace_traps(self, traps: Mapping[bytes, int]) -> None:
        """Put the base's file, if it has one, into the place of each of these, which are left out."""
        for path, size in traps.items():
            self.left_out.add(path, left_out.TOO_LARGE if size else left_out.GIT_REFUSED, size)
            with contextlib.suppress(CollectFailed):  # it is none of the base's
                self._compare.ask("checkout-index", "--force", "-z", "--stdin", stdin=ended([path]))

    def stage(self) -> str:
        """Bring the index to what the folder holds.

        Returns '' when that was done, but for what is left out; else what git said last, and nothing is sure.
        """
        try:
            self._stage(give_up=None)
        except CollectFailed as failed:
            return failed.line or str(failed)
        said = self._compare.complaints.decode("utf-8", "replace").splitlines()
        words = [line for line in said if line and not line.startswith(_REFUSED)]
        if said and not words:
            self._leave_out(path for paths in self._differences() for path in paths)
        return words[-1] if words else ""

    def stage_what_can_be(self) -> None:
        """The same for a folder in which git stumbles: whatever it does not take is left out.

        Raises CollectFailed when it cannot even be compared, or the disk is full.
        """
        self._stage(give_up=time.monotonic() + TRIES_S)
        self._leave_out(path for paths in self._differences() for path in paths)

    def _stage(self, give_up: float | None) -> None:
        found = self._differences()
        self._take_in(("--force-remove",), found.gone, give_up)
        self._take_in(("--add", "--replace"), found.changed + found.new, give_up)

    def _take_in(self, how: Sequence[str], paths: list[bytes], give_up: float | None) -> None:
        """Raises CollectFailed when git does not take them at once and there is no `give_up` to try until."""
        waiting = [paths] if paths else []
        while waiting:
            batch = waiting.pop()
            try:
                self._compare.ask("update-index", "-z", *how, "--stdin", stdin=ended(batch), config=(_QUICK,))
            except CollectFailed as failed:
                if give_up is None or any(words in failed.line for words in _NO_ROOM):
                    raise
                with contextlib.suppress(FileNotFoundError):
                    self._compare.index.with_name("index.lock").unlink()  # git was killed over it
                if len(batch) == 1 or time.monotonic() > give_up:
                    self._leave_out(batch)
                else:
                    waiting += _parts(batch, failed.line)

    def _leave_out(self, paths: Iterable[bytes]) -> None:
        """Paths that git did not take, each for the reason that is plain to see."""
        refused = set(self._compare.complaints.split(b"\n"))
        for path in paths:
            status, why = self._status(path), left_out.GIT_REFUSED
            if status is None:
                why = left_out.UNREADABLE
            elif _REFUSED.encode("ascii") + path in refused:
                why = left_out.NAME_REFUSED
            self.left_out.add(path, why, status.st_size if status is not None else 0)

    def _differences(self) -> Differences:
        """What the index does not have as the folder has it, and what may be given to git of that."""
        files = ("diff-files", "-z", "--name-only", "--ignore-submodules=all")
        gone = split(self._compare.ask(*files, "--diff-filter=D"))
        touched = split(self._compare.ask(*files, "--diff-filter=d"))
        others = NewFiles(left_out.NEW_MAX, self._few)
        self._compare.ask("ls-files", "-z", "--others", "--exclude-standard", out=others.feed)
        self._note_repositories(gone, others)
        above = {folder for path in gone for folder in folders_of(path)}
        special = {path for path in (*touched, *above) if self._is_special(path)}
        for path in special:
            self.left_out.add(path, left_out.NO_FILE)
        return Differences(
            [
                path
                for path in gone
                if not special.intersection(folders_of(path)) and path not in self.left_out
            ],
            self._fitting((path for path in touched if path not in special), tracked=True),
            self._fitting(self._new(others), tracked=False),
        )

    def _note_repositories(self, gone: Iterable[bytes], others: NewFiles) -> None:
        """Folders with a repository of their own, whose content git does not take.

        ls-files names them with a slash at the end, and says nothing of one in the place of a tracked file.
        """
        new = [path for path in others.paths if path.endswith(b"/")]
        old = [path for path in new if self._oldest(path + b".git") < self._since]
        self.repositories_inside = len(old)
        for path in (*new, *(path for path in gone if self._status(path + b"/.git") is not None)):
            if path not in old:
                self.left_out.add(path, left_out.REPOSITORY)

    def _oldest(self, repository: bytes) -> float:
        """When the oldest of what git has put there was made: use changes much of it, but never all."""
        folder, times = self._compare.worktree / os.fsdecode(repository), []
        with contextlib.suppress(OSError):  # it may be a file that tells where the repository is
            times.append(folder.lstat().st_ctime)
            times += [entry.lstat().st_ctime for entry in folder.iterdir()]
        return min(times, default=math.inf)

    def _new(self, others: NewFiles) -> list[bytes]:
        """New files, no more than may be. Asked again, what was too many then is not new now."""
        for name in others.too_many:
            self.left_out.add(name, left_out.TOO_MANY)
        if others.too_many:
            self.left_out.add_unnamed(sum(others.too_many.values()) - len(others.too_many) + others.unnamed)
            self._few = frozenset(others.paths)
        return [path for path in others.paths if not path.endswith(b"/")]

    def _fitting(self, paths: Iterable[bytes], *, tracked: bool) -> list[bytes]:
        """Without those that are too large for git, and those already left out.

        What is tracked may have been touched only; then its size is the base's, and git may see whether its
        content is too.
        """
        sizes: dict[bytes, int] = {}
        for path in paths:
            if path in self.left_out:
                continue
            if len(path) > PATH_MAX_BYTES:
                self.left_out.add(path, left_out.TOO_DEEP)
                continue
            status = self._status(path)
            size = status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0
            if size > self._file_max and not (tracked and self._compare.base_size(path) == size):
                self.left_out.add(path, left_out.TOO_LARGE, size)
            else:
                sizes[path] = size
        for path in () if tracked else over(sizes, TOTAL_MAX_BYTES):
            self.left_out.add(path, left_out.TOO_LARGE, sizes.pop(path))
        return list(sizes)

    def _is_special(self, path: bytes) -> bool:
        status = self._status(path)
        if status is None:
            return False  # git says what is wrong with it
        return not any(is_(status.st_mode) for is_ in (stat.S_ISREG, stat.S_ISLNK, stat.S_ISDIR))

    def _status(self, path: bytes) -> os.stat_result | None:
        """From the folder downwards, because the whole path may be longer than a path may be."""
        try:
            folder = os.open(self._compare.worktree, os.O_RDONLY | os.O_DIRECTORY)
            try:
                return os.lstat(path, dir_fd=folder)
            finally:
                os.close(folder)
        except OSError:
            return None


def _parts(batch: list[bytes], line: str) -> list[list[bytes]]:
    """What git is asked next, the last first: around the path that it names, or halves."""
    named = _STUMBLED.search(line)
    path = os.fsencode(named.group(1) or named.group(2)) if named else b""
    at = batch.index(path) if path in batch else -1
    half = len(batch) // 2
    parts = [batch[at + 1 :], batch[at : at + 1], batch[:at]] if at >= 0 else [batch[half:], batch[:half]]
    return [part for part in parts if part]


def over(sizes: Mapping[bytes, int], most: int) -> list[bytes]:
    """The largest, as many as must go for the rest to have no more than `most` bytes together."""
    left, found = sum(sizes.values()), []
    for path in sorted(sizes, key=lambda each: -sizes[each]):
        if left <= most:
            break
        left -= sizes[path]
        found.append(path)
    return found
