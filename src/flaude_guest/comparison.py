"""git's view of a work tree beside its base: what it is asked, and the differences of an index from the base.

All calls are the agent's, on a repository that is neither the workspace's nor written to. The index is
brought to what the folder holds by `staging`; what is made of the answers is `changeset`'s.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Iterable, NamedTuple, Sequence

from flaude_guest.blobs import BlobStream, Unreadable
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
# What a macOS or a Windows computer would refuse could not be applied there.
_CONFIG = (("core.preloadIndex", "false"), ("core.protectHFS", "true"), ("core.protectNTFS", "true"))


class CollectFailed(Exception):
    """The changeset could not be taken whole. The text is our own words, `line` git's or the system's."""

    def __init__(self, details: str, line: str = "", type: str = "collect_failed") -> None:  # noqa: A002
        super().__init__(details)
        self.line = line
        self.type = type


class Change(NamedTuple):
    """A path that differs from the base. A deleted one has no content."""

    path: bytes
    letter: str
    old_mode: str
    mode: str
    old_oid: str
    oid: str
    sha256: str | None
    size: int

    def row(self) -> dict[str, Any]:
        """`{path, status, mode, sha256, size}`. A deleted path has its old mode."""
        return {
            "path": self.path.decode("utf-8", "surrogateescape"),
            "status": _STATUS[self.letter],
            "mode": self.old_mode if self.letter == "D" else self.mode,
            "sha256": self.sha256,
            "size": self.size,
        }


class Comparison:
    """One work tree, its base, and a throwaway folder with the index to work on and the objects made."""

    def __init__(self, git: Git, who: Identity, fetched: Fetched, worktree: Path, scratch: Path) -> None:
        self._git = git
        self._who = who
        self.worktree = worktree
        self.base = fetched.commit
        self.index = scratch / "index"
        self.complaints = b""
        """What git has said beside its answers."""
        self._env = {
            "GIT_DIR": str(fetched.bare),
            "GIT_WORK_TREE": str(worktree),
            "GIT_INDEX_FILE": str(self.index),
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(fetched.bare / "objects"),
        }

    def changes(self) -> list[Change]:
        """In git's order."""
        raw = self.ask(*_DIFF, "-z", "--raw", "--full-index", self.base, "--").split(b"\0")
        heads = []
        for head, path in zip(raw[::2], raw[1::2]):  # noqa: B905 - `strict` is Python 3.10
            old_mode, mode, old_oid, oid, letter = head.decode("ascii").lstrip(":").split(" ")
            if letter not in _STATUS:
                raise CollectFailed("git reported a change of unknown kind.")
            heads.append((path, letter, old_mode, mode, old_oid, oid))
        blobs = self._measure(
            sorted({oid for *_, mode, _, oid in heads if oid != _NONE and mode != _SUBMODULE})
        )
        nothing: dict[str, Any] = {"sha256": None, "size": 0}
        return [Change(*head, **blobs.get(head[-1], nothing)) for head in heads]

    def unstage(self, changes: Iterable[Change]) -> None:
        """Bring these back to what the base has."""
        lines = [
            b"%s %s\t%s" % (change.old_mode.encode("ascii"), change.old_oid.encode("ascii"), change.path)
            for change in changes
        ]
        if lines:
            self.ask("update-index", "-z", "--add", "--replace", "--index-info", stdin=ended(lines))

    def patch(self, out: Sink, *attributes: str) -> None:
        """Hand on the patch that `git apply` takes; what is deleted comes last.

        Of a binary file that is deleted it has only the id: `git apply` needs no more, and the content may be
        large. `attributes` is a file, weaker than the folder's own.
        """
        config = tuple(("core.attributesFile", file) for file in attributes)
        for which in (("--binary", "--diff-filter=d"), ("--diff-filter=D",)):
            self.ask(*_DIFF, "--patch", *which, "--full-index", "--no-ext-diff", "--no-textconv",
                     "--no-color", self.base, "--", out=out, config=config)  # fmt: skip

    def base_size(self, path: bytes) -> int:
        """Bytes of a tracked file in the base."""
        return int(self.ask("cat-file", "-s", self.base + ":" + os.fsdecode(path)))

    def ignored(self, paths: list[bytes]) -> set[bytes]:
        """Those of the paths that git would pass over anyway."""
        try:
            return set(split(self.ask("check-ignore", "-z", "--no-index", "--stdin", stdin=ended(paths))))
        except CollectFailed:
            return set()  # its exit code for "none of them"

    def weights(self, changes: Iterable[Change]) -> dict[bytes, int]:
        """What git holds of each path to compare it, in bytes: both sides."""
        both = [change for change in changes if change.old_oid != _NONE and change.old_mode != _SUBMODULE]
        asked = "".join(change.old_oid + "\n" for change in both).encode("ascii")
        told = self.ask("cat-file", "--batch-check=%(objectsize)", stdin=asked).split() if both else []
        old = dict(zip((change.path for change in both), map(int, told)))  # noqa: B905 - Python 3.10
        return {change.path: change.size + old.get(change.path, 0) for change in changes}

    def _measure(self, oids: list[str]) -> dict[str, dict[str, Any]]:
        if not oids:
            return {}
        blobs = BlobStream()
        asked = "".join(oid + "\n" for oid in oids).encode("ascii")
        with contextlib.suppress(Unreadable):
            self.ask("cat-file", "--batch", stdin=asked, out=blobs.feed)
        if set(blobs.found) != set(oids):
            raise CollectFailed("git did not give the content of every changed file.")
        return blobs.found

    def ask(self, *args: str, config: Sequence[tuple[str, str]] = (), **options: Any) -> bytes:
        """git's answer. Raises CollectFailed when it cannot be relied on."""
        try:
            answer: Answer = self._git(
                *args,
                who=self._who,
                cwd=self.worktree,
                env=self._env,
                config=(*_CONFIG, *config),
                **options,
            )
        except NotStarted as error:
            raise CollectFailed("git could not be started in the workspace.", error.strerror or "") from error
        if not answer.whole:
            raise CollectFailed("git %s names more than %d bytes of paths." % (args[0], CAPTURE_MAX_BYTES))
        if not answer.ok:
            raise CollectFailed("git %s exited with %d." % (args[0], answer.ended.code), answer.line)
        self.complaints += answer.err
        return answer.out


def split(names: bytes) -> list[bytes]:
    """Names as git prints them with -z."""
    return [name for name in names.split(b"\0") if name]


def ended(names: Iterable[bytes]) -> bytes:
    """Names as git reads them with -z."""
    return b"".join(name + b"\0" for name in names)
