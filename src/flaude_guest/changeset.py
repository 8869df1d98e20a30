"""What the work changed: every path that differs from the base commit, as a document and as one binary patch.

Compared is the folder itself, through a fresh index and with the bare repository's settings; the
workspace's own `.git` (history, configuration, hooks, index) is never consulted. What the change cannot carry
is left out and named. What git is asked is in `comparison` and `staging`; what may be delivered is the host's
decision.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Sequence

from flaude_guest import left_out, memory, protocol, staging
from flaude_guest.checks import no_room
from flaude_guest.comparison import CollectFailed, Comparison
from flaude_guest.patch import taken
from flaude_guest.staging import Staging, over
from flaude_guest.traps import remove_traps

if TYPE_CHECKING:
    from flaude_guest.comparison import Change
    from flaude_guest.fetch import Fetched
    from flaude_guest.git import Git
    from flaude_guest.places import Places

FILE_MAX_BYTES = 64 * 1024 * 1024
"""The largest file the host takes."""
CONTENT_MAX_BYTES = 100 * 1024 * 1024
"""The largest file GitHub takes: https://docs.github.com/en/repositories/working-with-files/managing-large-files"""
CONTENT_OF_MEMORY = 10
"""git holds a changed file about six times to compare it: one may be so large a part of the memory."""
PATHS_MAX, PATHS_MAX_BYTES = 1000, 64 * 1024
TOLD_MAX = 20
_REOPEN = Path(__file__).resolve().parent / "reopen.py"


@dataclass(frozen=True)
class Changeset:
    """What the result tells; the document and the patch are in files.

    Not part of the change are `repositories_inside`, folders with a repository that was there before the
    agent, and what is `left_out`. `paths` are the first of those that changed, `left_out` the first
    `{path, why, size}` of `left_out_count`.
    """

    digest: str
    files: int
    patch_bytes: int
    repositories_inside: int
    paths: list[str] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    left_out_count: int = 0


def take(
    git: Git, places: Places, fetched: Fetched, worktree: Path, index: Path, since: float = 0.0
) -> Changeset:
    """Compare `worktree` with its base; writes `changeset` and `patch` into the state folder.

    `since` is when the agent's work began, in seconds of this machine's clock. Raises CollectFailed, and
    git.CutShort when time is up.
    """
    scratch, names = places.state / "changeset.scratch", ("patch", "changeset")
    parts = [places.state / (name + ".part") for name in names]
    try:
        compare, staged = _staged(git, places, fetched, worktree, index, scratch, since)
        changes = _carried(compare, staged)
        changes, patch_sha256, patch_bytes = _write_patch(compare, staged, changes, scratch, parts[0])
        document: dict[str, Any] = {
            "base_sha": fetched.sha,
            "files": [change.row() for change in changes],
            "left_out": staged.left_out.rows(),
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
        protocol.digest(document),
        len(changes),
        patch_bytes,
        staged.repositories_inside,
        _told([change.path for change in changes[:PATHS_MAX]]),
        document["left_out"][:TOLD_MAX],
        staged.left_out.count,
    )


def content_max_bytes() -> int:
    """The largest file that is given to git on this machine."""
    machine = memory.machine_bytes()
    return min(CONTENT_MAX_BYTES, machine // CONTENT_OF_MEMORY) if machine else CONTENT_MAX_BYTES


def _told(paths: Sequence[bytes]) -> list[str]:
    """As many as fit in the result."""
    told, room = [], PATHS_MAX_BYTES
    for path in paths:
        name = path.decode("utf-8", "surrogateescape")
        room -= len(protocol.canonical_json(name)) + 1
        if room < 0:
            break
        told.append(name)
    return told


def open_private(path: Path) -> IO[bytes]:
    """A new file for root's eyes only, in place of any old one."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")


def _staged(
    git: Git, places: Places, fetched: Fetched, worktree: Path, index: Path, scratch: Path, since: float
) -> tuple[Comparison, Staging]:
    """The comparison, its index brought to what the folder holds.

    What git cannot read it passes over with a mere warning. So whatever it says beside its answer is a reason
    to give the agent the right to read its own files, to begin anew, and to see that nothing is missed.
    """

    traps = remove_traps(worktree)

    def begin() -> tuple[Comparison, Staging]:
        _make_scratch(scratch, places, index)
        compare = Comparison(git, places.agent, fetched, worktree, scratch)
        staged = Staging(compare, content_max_bytes(), since)
        staged.replace_traps(traps)
        return compare, staged

    compare, staged = begin()
    if not staged.stage():
        return compare, staged
    closed = _reopen(git, places, worktree)
    compare, staged = begin()
    passed_over = compare.ignored(list(closed)) if closed else set()
    for path, why in closed.items():
        if path not in passed_over:
            staged.left_out.add(path, why)
    staged.stage_what_can_be()
    return compare, staged


def _carried(compare: Comparison, staged: Staging) -> list[Change]:
    """What changed, without what is too large or too much; the index is brought back to the base for that."""
    found = compare.changes()
    large = {change.path: change.size for change in found if change.size > content_max_bytes()}
    sizes = {change.path: change.size for change in found if change.path not in large}
    large.update((path, sizes[path]) for path in over(sizes, staging.TOTAL_MAX_BYTES))
    for path, size in large.items():
        staged.left_out.add(path, left_out.TOO_LARGE, size)
    rows = {change.path: 200 + 6 * len(change.path) for change in found}  # at most, in JSON
    if sum(rows.values()) > FILE_MAX_BYTES:
        added = {change.path: rows[change.path] for change in found if change.letter == "A"}
        rest = sum(rows.values()) - sum(added.values())
        for path in over(added, max(0, FILE_MAX_BYTES - rest)):
            staged.left_out.add(path, left_out.TOO_MANY)
    kept = staged.left_out.carried(found)
    names = {change.path for change in kept}
    compare.unstage(change for change in found if change.path not in names)
    return kept


def _make_scratch(scratch: Path, places: Places, index: Path) -> None:
    """A throwaway folder of the agent's, holding the index to work on and the objects made on the way."""
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "objects").mkdir(parents=True)
    shutil.copy2(index, scratch / "index")
    if places.agent.uid is not None and places.agent.gid is not None:
        # The folder last: before that nobody can put a link in the place of what is in it.
        for path in (scratch / "index", scratch / "objects", scratch):
            os.chown(path, places.agent.uid, places.agent.gid)


def _reopen(git: Git, places: Places, worktree: Path) -> dict[bytes, str]:
    """Paths that stay closed to the agent itself, and why. Raises CollectFailed without a work tree."""
    who = places.agent
    owner = () if who.uid is None else (str(who.uid), str(who.gid))
    # As root, because the agent may not be able to run our Python; the program gives its rights up by itself.
    argv = (sys.executable, "-I", "-S", str(_REOPEN), *owner, str(places.work), str(worktree))
    answer = git.program(argv, cwd=places.state)
    if not worktree.is_dir():
        raise CollectFailed("The repository's folder is not there any more.")
    if not answer.ok:
        raise CollectFailed("Looking for closed folders ended with %d." % answer.ended.code, answer.line)
    told = answer.out.split(b"\0")
    return {path: why.decode("ascii") for why, path in zip(told[::2], told[1::2])}  # noqa: B905


def _write_patch(
    compare: Comparison, staged: Staging, changes: list[Change], scratch: Path, target: Path
) -> tuple[list[Change], str, int]:
    """(the changes that the patch has, its sha256, its bytes)."""
    with open_private(scratch / "patch") as raw:
        patch, changes = taken(compare, staged.left_out, changes, raw, scratch / "attributes", FILE_MAX_BYTES)
        sizes = {change.path: change.size for change in changes}
        for path in patch.too_large():
            staged.left_out.add(path, left_out.TOO_LARGE, sizes[path])
        kept = staged.left_out.carried(changes)
        without = sizes.keys() - {change.path for change in kept}
        with open_private(target) as file:
            return kept, *patch.write(file, without)


def _write_document(data: bytes, target: Path) -> None:
    if len(data) > FILE_MAX_BYTES:
        raise CollectFailed("The list of changed files is larger than %d bytes." % FILE_MAX_BYTES)
    with open_private(target) as file:
        file.write(data)
