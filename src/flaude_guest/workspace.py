"""The agent's folders, and its checkouts: made by its own uid from the bare repositories that root fetched.

A checkout borrows the bare repository's objects instead of copying them. What changed in it at the end is
told by `changeset`, which never looks at the checkout's own `.git`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import TYPE_CHECKING

from flaude_guest.fetch import CloneFailed, Fetched

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.git import Git
    from flaude_guest.places import Places

EMPTY = "work"
"""The folder the agent works in when the job names no repository."""

_CHECK_OUT = """
git init --quiet --template= -- "$DIRECTORY"
cd -- "$DIRECTORY"
printf '%s\\n' "$BARE/objects" > .git/objects/info/alternates
if [ -e "$BARE/shallow" ]; then cat -- "$BARE/shallow" > .git/shallow; fi
git remote add origin "$URL"
git config user.name Claude
git config user.email noreply@anthropic.com
if [ -n "$BRANCH" ] && git check-ref-format --branch "$BRANCH" > /dev/null 2>&1; then
  git update-ref "refs/remotes/origin/$BRANCH" "$SHA"
  git checkout --quiet -B "$BRANCH" "$SHA"
  git branch --quiet --set-upstream-to="origin/$BRANCH"
else
  git checkout --quiet --detach "$SHA"
fi
"""


def prepare(places: Places) -> None:
    """Make the folders: ours closed to the agent, the agent's owned by it. Raises OSError for one of ours."""
    for ours, mode in ((places.run, 0o700), (places.state, 0o711)):
        ours.mkdir(parents=True, exist_ok=True)
        ours.chmod(mode)
    for theirs in (places.work, places.agent.home):
        with contextlib.suppress(OSError):  # that it is of no use to the agent is for `checks` to tell
            theirs.mkdir(parents=True, exist_ok=True)
            if places.agent.uid is not None and places.agent.gid is not None:
                os.chown(theirs, places.agent.uid, places.agent.gid)


def make_claude_config(places: Places) -> None:
    """An empty folder in place of ~/.claude and ~/.claude.json, in which `setup` may have left anything."""
    folder, agent = places.claude_config, places.agent
    if os.path.lexists(folder):  # where the agent is who we are, `setup` may have made it
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
    folder.mkdir(mode=0o700)
    if agent.uid is not None and agent.gid is not None:
        os.chown(folder, agent.uid, agent.gid)


def check_out(git: Git, places: Places, fetched: Fetched) -> Path:
    """The agent's working copy: on a local branch if the ref is one, else detached. Raises CloneFailed."""
    directory = places.work / fetched.repository.directory
    done = git.program(
        ("/bin/sh", "-euc", _CHECK_OUT),
        who=places.agent,
        cwd=places.work,
        env={
            "DIRECTORY": str(directory),
            "BARE": str(fetched.bare),
            "URL": fetched.repository.url,
            "BRANCH": fetched.branch,
            "SHA": fetched.commit,
        },
    )
    if not done.ok:
        raise CloneFailed("clone_failed", "The checkout failed.", done.line)
    return directory


def empty(git: Git, places: Places) -> Path:
    """The folder for a job without a repository."""
    directory = places.work / EMPTY
    done = git.program(("/bin/mkdir", "-p", "--", str(directory)), who=places.agent, cwd=places.work)
    if not done.ok:
        raise CloneFailed("clone_failed", "The workspace could not be made.", done.line)
    return directory


def keep_index(directory: Path, kept: Path) -> None:
    """Keep the fresh checkout's index: its file times let `changeset` skip what was not touched.

    Called before anything of the user's has run. The times are copied with it, because git compares them with
    the files' to know which entries it must not trust.
    """
    source = directory / ".git" / "index"
    if not stat.S_ISREG(os.lstat(source).st_mode):
        raise CloneFailed("clone_failed", "The checkout has no index.")
    shutil.copy2(source, kept)
    kept.chmod(0o600)
