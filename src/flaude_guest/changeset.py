"""What the work changed: every path that differs from the base commit, as a document and as one binary patch.

Compared is the folder itself, through a fresh index and with the bare repository's settings; the
workspace's own `.git` (history, configuration, hooks, index) is never consulted. What git is asked is in
`comparison`; what may be delivered of it is the host's decision.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flaude_guest import protocol
from flaude_guest.checks import no_room
from flaude_guest.comparison import CollectFailed, Comparison

if TYPE_CHECKING:
    from flaude_guest.fetch import Fetched
    from flaude_guest.git import Git
    from flaude_guest.places import Places

FILE_MAX_BYTES = 64 * 1024 * 1024
"""The largest file the host takes."""
_REOPEN = Path(__file__).resolve().parent / "reopen.py"


@dataclass(frozen=True)
class Changeset:
    """What the result tells; the document and the patch are in files.

    Not part of the change are `repositories_inside`, folders with a repository of their own, and
    `special_files`, tracked files that became a pipe, a socket or a device.
    """

    digest: str
    files: int
    patch_bytes: int
    repositories_inside: int
    special_files: int


def take(git: Git, places: Places, fetched: Fetched, worktree: Path, index: Path) -> Changeset:
    """Compare `worktree` with its base; writes `changeset` and `patch` into the state folder.

    Raises CollectFailed, and git.CutShort when time is up.
    """
    scratch, names = places.state / "changeset.scratch", ("patch", "changeset")
    parts = [places.state / (name + ".part") for name in names]
    try:
        compare = _staged(git, places, fetched, worktree, index, scratch)
        files = compare.files()
        patch_sha256, patch_bytes = _write_patch(compare, parts[0])
        document = {
            "base_sha": fetched.sha,
            "files": files,
            "patch_bytes": patch_bytes,
            "patch_sha256": patch_sha256,
        }
        _write_document(protocol.canonical_json(document).encode("ascii"), parts[1])
        for part, name in zip(parts, names):  # noqa: B905 - `strict` is Python 3.10
            part.rename(places.state / name)  # only now, so that nobody is given a part of a patch
    except OSError as error:
        type_ = "disk_full" if no_room(error) else "collect_failed"
        raise CollectFailed("The changeset could not be written.", error.strerror or "", type_) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for part in parts:
            part.unlink(missing_ok=True)
    return Changeset(
        protocol.digest(document), len(files), patch_bytes, compare.repositories_inside, compare.special_files
    )


def open_private(path: Path) -> IO[bytes]:
    """A new file for root's eyes only, in place of any old one."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _staged(
    git: Git, places: Places, fetched: Fetched, worktree: Path, index: Path, scratch: Path
) -> Comparison:
    """The comparison, its index brought to what the folder holds.

    What git cannot read it passes over with a mere warning. So whatever it says beside its answer is a reason
    to give the agent the right to read its own files, to begin anew, and to see that nothing is left out.
    """

    def begin() -> Comparison:
        _make_scratch(scratch, places, index)
        return Comparison(git, places.agent, fetched, worktree, scratch)

    compare = begin()
    if not compare.stage():
        return compare
    _reopen(git, places, worktree)
    compare = begin()
    words = compare.stage()
    left_out = compare.differences().count if words else 0
    if left_out:
        raise CollectFailed("Paths that could not be taken in: %d." % left_out, words)
    return compare


def _make_scratch(scratch: Path, places: Places, index: Path) -> None:
    """A throwaway folder of the agent's, holding the index to work on and the objects made on the way."""
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "objects").mkdir(parents=True)
    shutil.copy2(index, scratch / "index")
    if places.agent.uid is not None and places.agent.gid is not None:
        # The folder last: before that nobody can put a link in the place of what is in it.
        for path in (scratch / "index", scratch / "objects", scratch):
            os.chown(path, places.agent.uid, places.agent.gid)


def _reopen(git: Git, places: Places, worktree: Path) -> None:
    """Raises CollectFailed when a folder stays closed to the agent itself, or the work tree is gone."""
    who = places.agent
    owner = () if who.uid is None else (str(who.uid), str(who.gid))
    # As root, because the agent may not be able to run our Python; the program gives its rights up by itself.
    argv = (sys.executable, "-I", "-S", str(_REOPEN), *owner, str(places.work), str(worktree))
    answer = git.program(argv, cwd=places.state)
    if answer.ok:
        return
    if not worktree.is_dir():
        raise CollectFailed("The repository's folder is not there any more.")
    closed = answer.out.strip()
    if not closed.isdigit():
        raise CollectFailed("Looking for closed folders ended with %d." % answer.ended.code, answer.line)
    raise CollectFailed("Folders of the workspace that cannot be read: %d." % int(closed))


def _write_patch(compare: Comparison, target: Path) -> tuple[str, int]:
    """(sha256, bytes)."""
    digest, size = hashlib.sha256(), 0
    with open_private(target) as file:

        def keep(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size <= FILE_MAX_BYTES:
                digest.update(data)
                file.write(data)

        compare.patch(keep)
    if size > FILE_MAX_BYTES:
        raise CollectFailed("The patch is larger than %d bytes." % FILE_MAX_BYTES)
    return digest.hexdigest(), size


def _write_document(data: bytes, target: Path) -> None:
    if len(data) > FILE_MAX_BYTES:
        raise CollectFailed("The list of changed files is larger than %d bytes." % FILE_MAX_BYTES)
    with open_private(target) as file:
        file.write(data)
