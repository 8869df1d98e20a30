"""git's view of a work tree beside its base: an index brought to what the folder holds, and the differences.

All calls are the agent's, on a repository that is neither the workspace's nor written to. What is made of the
answers is `changeset`'s.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Iterator

from flaude_guest.git import CAPTURE_MAX_BYTES
from flaude_guest.processes import NotStarted

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.fetch import Fetched
    from flaude_guest.git import Answer, Git
    from flaude_guest.pipes import Sink
    from flaude_guest.places import Identity

_STATUS = {"A": "added", "M": "modified", "T": "modified", "D": "deleted"}
_NONE = "0" * 40
_SUBMODULE = "160000"
_DIFF = ("diff-index", "--cached", "--no-renames", "--ignore-submodules=all")


class CollectFailed(Exception):
    """The changeset could not be taken whole. The text is our own words, `line` git's or the system's."""

    def __init__(self, details: str, line: str = "", type: str = "collect_failed") -> None:  # noqa: A002
        super().__init__(details)
        self.line = line
        self.type = type


@dataclass(frozen=True)
class Differences:
    """Paths in which folder and index differ, each with a NUL behind it."""

    gone: bytes
    changed: bytes
    new: bytes

    @property
    def count(self) -> int:
        return (self.gone + self.changed + self.new).count(b"\0")


class Comparison:
    """One work tree, its base, and a throwaway folder with the index to work on and the objects made."""

    def __init__(self, git: Git, who: Identity, fetched: Fetched, worktree: Path, scratch: Path) -> None:
        self._git = git
        self._who = who
        self._worktree = worktree
        self._base = fetched.commit
        self.repositories_inside = 0
        self.special_files = 0
        self._words = ""
        self._env = {
            "GIT_DIR": str(fetched.bare),
            "GIT_WORK_TREE": str(worktree),
            "GIT_INDEX_FILE": str(scratch / "index"),
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(fetched.bare / "objects"),
        }

    def stage(self) -> str:
        """Bring the index to what the folder holds: tracked files as they are, plus new ones not ignored.

        Returns '' when that was done without a word from git; else what it said last, and nothing is sure.
        """
        self._words = ""
        try:
            found = self.differences()
            if found.gone:
                self._ask("update-index", "-z", "--force-remove", "--stdin", stdin=found.gone)
            if found.changed or found.new:
                self._ask(
                    "update-index", "-z", "--add", "--replace", "--stdin", stdin=found.changed + found.new
                )
        except CollectFailed as failed:
            return failed.line or str(failed)
        return self._words

    def differences(self) -> Differences:
        """What the index does not have as the folder has it.

        Folders with a repository of their own are left out; ls-files names them with a slash at the end. So
        are tracked files that are no content any more: git takes no other one beside them.
        """
        files = ("diff-files", "-z", "--name-only", "--ignore-submodules=all")
        gone, touched = (
            self._ask(*files, "--diff-filter=D"),
            self._ask(*files, "--diff-filter=d").split(b"\0"),
        )
        special = {path for path in touched if path and self._is_special(path)}
        changed = b"".join(path + b"\0" for path in touched if path and path not in special)
        others = self._ask("ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
        new = b"".join(path + b"\0" for path in others if path and not path.endswith(b"/"))
        self.repositories_inside = sum(path.endswith(b"/") for path in others)
        self.special_files = len(special)
        return Differences(gone, changed, new)

    def _is_special(self, path: bytes) -> bool:
        try:
            mode = (self._worktree / os.fsdecode(path)).lstat().st_mode
        except OSError:
            return False  # git says what is wrong with it
        return not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode))

    def files(self) -> list[dict[str, Any]]:
        """`{path, status, mode, sha256, size}` per path, in git's order. A deleted path has its old mode."""
        raw = self._ask(*_DIFF, "-z", "--raw", "--full-index", self._base, "--").split(b"\0")
        entries = []
        for head, path in zip(raw[::2], raw[1::2]):  # noqa: B905 - `strict` is Python 3.10
            old_mode, mode, _, oid, letter = head.decode("ascii").lstrip(":").split(" ")
            status = _STATUS.get(letter)
            if status is None:
                raise CollectFailed("git reported a change of unknown kind.")
            name = path.decode("utf-8", "surrogateescape")
            entries.append((name, status, old_mode if status == "deleted" else mode, oid))
        blobs = self._measure(
            sorted({oid for *_, mode, oid in entries if oid != _NONE and mode != _SUBMODULE})
        )
        return [
            {"path": path, "status": status, "mode": mode, **blobs.get(oid, {"sha256": None, "size": 0})}
            for path, status, mode, oid in entries
        ]

    def patch(self, out: Sink) -> None:
        """Hand on the patch that `git apply` takes."""
        self._ask(*_DIFF, "--patch", "--binary", "--full-index", "--no-ext-diff", "--no-textconv",
                  "--no-color", self._base, "--", out=out)  # fmt: skip

    def _measure(self, oids: list[str]) -> dict[str, dict[str, Any]]:
        if not oids:
            return {}
        blobs = _BlobStream()
        self._ask(
            "cat-file", "--batch", stdin="".join(oid + "\n" for oid in oids).encode("ascii"), out=blobs.feed
        )
        if set(blobs.found) != set(oids):
            raise CollectFailed("git did not give the content of every changed file.")
        return blobs.found

    def _ask(self, *args: str, **options: Any) -> bytes:
        try:
            answer: Answer = self._git(
                *args,
                who=self._who,
                cwd=self._worktree,
                env=self._env,
                config=(("core.looseCompression", "0"), ("core.preloadIndex", "false")),
                **options,
            )
        except NotStarted as error:
            raise CollectFailed("git could not be started in the workspace.", error.strerror or "") from error
        if not answer.whole:
            raise CollectFailed("git %s names more than %d bytes of paths." % (args[0], CAPTURE_MAX_BYTES))
        if not answer.ok:
            raise CollectFailed("git %s exited with %d." % (args[0], answer.ended.code), answer.line)
        self._words = answer.line or self._words
        return answer.out


@dataclass
class _BlobStream:
    """Reads `git cat-file --batch` (`<oid> blob <size>`, content, newline), keeping only digests."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    _header: bytearray = field(default_factory=bytearray)
    _oid: str = ""
    _size: int = 0
    _left: int = -1
    _digest: Any = None

    def feed(self, data: bytes) -> None:
        for part in self._contents(memoryview(data)):
            self._digest.update(part)

    def _contents(self, data: memoryview) -> Iterator[memoryview]:
        while data:
            if self._left < 0:
                data = self._read_header(data)
                continue
            part, data = data[: self._left], data[self._left :]
            self._left -= len(part)
            yield part
            if self._left == 0 and data:
                self.found[self._oid] = {"sha256": self._digest.hexdigest(), "size": self._size}
                data = data[1:]
                self._left = -1

    def _read_header(self, data: memoryview) -> memoryview:
        head = bytes(data[:200])
        end = head.find(b"\n")
        self._header += head if end < 0 else head[:end]
        if end < 0:
            return data[len(head) :]
        self._oid, _, size = self._header.decode("ascii").rpartition(" blob ")
        self._header.clear()
        if not size.isdigit():
            raise CollectFailed("git does not have the content of a changed file.")
        self._size = self._left = int(size)
        self._digest = hashlib.sha256()
        return data[end + 1 :]
