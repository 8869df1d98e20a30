"""The pinned commit's content from GitHub's archive of it: a private repository without a token.

git's own hashing decides whether the content is the commit's: its tree must have the id that the host was
told. There is no history. Downloading and reading the archive is `archive_import`'s, in a process of its own;
fetching by git is `fetch`'s.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Mapping

from flaude_guest.fetch import BASE, RETRY_DELAYS_S, CloneFailed, Fetched, branch_of, make_bare

if TYPE_CHECKING:
    from flaude_guest.git import Answer, Git
    from flaude_guest.job import Archive, Repository

ARCHIVE_MAX_BYTES = 1024 * 1024 * 1024
"""Unpacked."""
_PROGRAM = Path(__file__).resolve().parent / "archive_import.py"
_MESSAGE = "Content of %s\n\nFetched as GitHub's archive of that commit, without its history.\n"
_COMMITTER = (("user.name", "flaude-action"), ("user.email", "noreply@flaude-action"))
_AS_THEY_ARE = "* -text !ident !filter !working-tree-encoding\n"
_DIFFERS = (
    "The archive is not all of the commit: export-ignore or export-subst attributes, submodules or Git LFS "
    "make it differ."
)


def fetch_archive(git: Git, repository: Repository, archive: Archive, bare: Path) -> Fetched:
    """Make a commit with the content of the one that `repository` pins. Raises CloneFailed."""
    _download(git, repository, archive, bare)
    if _ask(git, bare, "rev-parse", BASE + "^{tree}") != archive.tree:
        _undo_conversions(git, archive, bare)
    commit = _ask(git, bare, "rev-parse", BASE)
    return Fetched(repository, bare, repository.sha, branch_of(repository.ref), commit)


def _download(git: Git, repository: Repository, archive: Archive, bare: Path) -> None:
    """Network trouble is retried twice, from the beginning."""
    order = {
        "url": archive.url,
        "ref": BASE,
        "message": _MESSAGE % repository.sha,
        "max_bytes": ARCHIVE_MAX_BYTES,
    }
    for delay_s in (*RETRY_DELAYS_S, None):
        shutil.rmtree(bare, ignore_errors=True)
        make_bare(git, bare)
        answer = git.program(
            (sys.executable, "-I", str(_PROGRAM)), cwd=bare, stdin=json.dumps(order).encode("ascii")
        )
        if answer.ok:
            return
        failure = _failure(answer)
        if failure.type != "clone_failed" or delay_s is None:
            raise failure
        git.pause(delay_s)


def _failure(answer: Answer) -> CloneFailed:
    try:
        told = json.loads(answer.out)
        return CloneFailed(told["type"], told["details"], answer.line)
    except (ValueError, KeyError):
        details = "Reading the archive ended with %d." % answer.ended.code
        return CloneFailed("clone_failed", details, answer.line)


def _undo_conversions(git: Git, archive: Archive, bare: Path) -> None:
    """Try again with what git does on checking in: an archive has files as a checkout has them.

    `eol=crlf`, `ident` and `working-tree-encoding` of the repository's own attributes are undone so.
    https://git-scm.com/docs/gitattributes. Raises CloneFailed when the tree is still another one.
    """
    folder, index, overrides = bare / "flaude.checkout", bare / "flaude.index", bare / "info" / "attributes"
    env = {"GIT_DIR": str(bare), "GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(index)}
    folder.mkdir(mode=0o700)
    overrides.parent.mkdir(exist_ok=True)
    overrides.write_text(_AS_THEY_ARE)
    try:
        _ask(git, folder, "read-tree", BASE, env=env)
        _ask(git, folder, "checkout-index", "--all", "--quiet", env=env)
        overrides.unlink()
        _ask(git, folder, "add", "--renormalize", "--", ".", env=env)
        tree = _ask(git, folder, "write-tree", env=env)
    finally:
        shutil.rmtree(folder)
        index.unlink(missing_ok=True)
    if tree != archive.tree:
        raise CloneFailed("clone_archive_unusable", _DIFFERS)
    message = _ask(git, bare, "log", "-1", "--format=%B", BASE)
    _ask(git, bare, "update-ref", BASE, _ask(git, bare, "commit-tree", "-m", message, tree))


def _ask(git: Git, cwd: Path, *args: str, env: Mapping[str, str] | None = None) -> str:
    answer = git(*args, cwd=cwd, env=env, config=_COMMITTER)
    if not answer.ok:
        details = "git %s exited with %d on the archive's content." % (args[0], answer.ended.code)
        raise CloneFailed("clone_failed", details, answer.line)
    return answer.out.decode("utf-8", "replace").strip()
