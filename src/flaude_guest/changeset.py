"""What the work changed: every path that differs from the base commit, as a document and as one binary patch.

Compared is the folder itself, through a fresh index and with the bare repository's settings; the
workspace's own `.git` (history, configuration, hooks, index) is never consulted. What may be delivered of
it is the host's decision.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Iterator

from flaude_guest import protocol

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.fetch import Fetched
    from flaude_guest.git import Answer, Git
    from flaude_guest.places import Places

PATCH_MAX_BYTES = 64 * 1024 * 1024
"""The largest file the host takes."""
_STATUS = {"A": "added", "M": "modified", "T": "modified", "D": "deleted"}
_NONE = "0" * 40
_SUBMODULE = "160000"
_DIFF = ("diff-index", "--cached", "--no-renames", "--ignore-submodules=all")


class CollectFailed(Exception):
    """The changeset could not be taken whole; the text is our own words, `line` git's."""

    def __init__(self, details: str, line: str = "") -> None:
        super().__init__(details)
        self.line = line


@dataclass(frozen=True)
class Changeset:
    """`{digest, files, patch_bytes}` for the result; the document and the patch are in files."""

    digest: str
    files: int
    patch_bytes: int


def take(git: Git, places: Places, fetched: Fetched, worktree: Path, index: Path) -> Changeset:
    """Compare `worktree` with its base; writes `changeset` and `patch` into the state folder.

    Raises CollectFailed, and git.CutShort when time is up.
    """
    scratch = places.state / "changeset.scratch"
    try:
        compare = _Comparison(git, places, fetched, worktree, _scratch(scratch, places, index))
        compare.stage()
        files = compare.files()
        patch_sha256, patch_bytes = compare.write_patch(places.state / "patch")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    document = {
        "base_sha": fetched.sha,
        "files": files,
        "patch_bytes": patch_bytes,
        "patch_sha256": patch_sha256,
    }
    with open_private(places.state / "changeset") as file:
        file.write(protocol.canonical_json(document).encode("ascii"))
    return Changeset(protocol.digest(document), len(files), patch_bytes)


def open_private(path: Path) -> IO[bytes]:
    """A new file for root's eyes only, in place of any old one."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _scratch(scratch: Path, places: Places, index: Path) -> Path:
    """A throwaway folder of the agent's, holding the index to work on and the objects made on the way."""
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "objects").mkdir(parents=True)
    shutil.copy2(index, scratch / "index")
    if places.agent.uid is not None and places.agent.gid is not None:
        for path in (scratch, scratch / "objects", scratch / "index"):
            os.chown(path, places.agent.uid, places.agent.gid)
    return scratch


class _Comparison:
    """git calls as the agent's uid on a repository that is neither the workspace's nor written to."""

    def __init__(self, git: Git, places: Places, fetched: Fetched, worktree: Path, scratch: Path) -> None:
        self._git = git
        self._who = places.agent
        self._worktree = worktree
        self._base = fetched.commit
        self._env = {
            "GIT_DIR": str(fetched.bare),
            "GIT_WORK_TREE": str(worktree),
            "GIT_INDEX_FILE": str(scratch / "index"),
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(fetched.bare / "objects"),
        }

    def stage(self) -> None:
        """Bring the index to what the folder holds: tracked files as they are, plus new ones not ignored.

        Folders with a repository of their own are left out; ls-files names them with a slash at the end.
        """
        gone = self._ask("diff-files", "-z", "--name-only", "--ignore-submodules=all", "--diff-filter=D").out
        changed = self._ask(
            "diff-files", "-z", "--name-only", "--ignore-submodules=all", "--diff-filter=d"
        ).out
        others = self._ask("ls-files", "-z", "--others", "--exclude-standard").out
        new = b"".join(path + b"\0" for path in others.split(b"\0") if path and not path.endswith(b"/"))
        if gone:
            self._ask("update-index", "-z", "--force-remove", "--stdin", stdin=gone)
        if changed or new:
            self._ask("update-index", "-z", "--add", "--replace", "--stdin", stdin=changed + new)

    def files(self) -> list[dict[str, Any]]:
        """`{path, status, mode, sha256, size}` per path, in git's order. A deleted path has its old mode."""
        raw = self._ask(*_DIFF, "-z", "--raw", "--full-index", self._base, "--").out.split(b"\0")
        entries = []
        for head, path in zip(raw[::2], raw[1::2]):  # noqa: B905 - `strict` is Python 3.10
            old_mode, mode, _, oid, letter = head.decode("ascii").lstrip(":").split(" ")
            status = _STATUS.get(letter)
            if status is None:
                raise CollectFailed("git reported a change of unknown kind.")
            entries.append((os.fsdecode(path), status, old_mode if status == "deleted" else mode, oid))
        blobs = self._measure(
            sorted({oid for *_, mode, oid in entries if oid != _NONE and mode != _SUBMODULE})
        )
        return [
            {"path": path, "status": status, "mode": mode, **blobs.get(oid, {"sha256": None, "size": 0})}
            for path, status, mode, oid in entries
        ]

    def write_patch(self, target: Path) -> tuple[str, int]:
        """(sha256, bytes) of the patch that `git apply` takes."""
        digest, size = hashlib.sha256(), 0
        with open_private(target) as file:

            def keep(data: bytes) -> None:
                nonlocal size
                size += len(data)
                if size <= PATCH_MAX_BYTES:
                    digest.update(data)
                    file.write(data)

            self._ask(*_DIFF, "--patch", "--binary", "--full-index", "--no-ext-diff", "--no-textconv",
                      "--no-color", self._base, "--", out=keep)  # fmt: skip
        if size > PATCH_MAX_BYTES:
            raise CollectFailed("The patch is larger than %d bytes." % PATCH_MAX_BYTES)
        return digest.hexdigest(), size

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

    def _ask(self, *args: str, **options: Any) -> Answer:
        answer = self._git(
            *args,
            who=self._who,
            cwd=self._worktree,
            env=self._env,
            config=(("core.looseCompression", "0"), ("core.preloadIndex", "false")),
            **options,
        )
        if not answer.ok:
            raise CollectFailed("git %s exited with %d." % (args[0], answer.ended.code), answer.line)
        return answer


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
