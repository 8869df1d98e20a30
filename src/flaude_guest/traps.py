"""What in a work tree git would wait for, for ever, or read until no memory is left: found and removed.

git looks for rules in every folder, and whether a folder with a `.git` is a repository. What becomes of the
rest of the work is `staging`'s.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

RULES_MAX_BYTES = 1024 * 1024
"""git reads a whole `.gitignore` or `.gitattributes`, each line of it as a pattern."""
SEARCH_S = 10.0
"""A folder takes 10 to 20 microseconds."""
_RULES = (".gitignore", ".gitattributes")


def remove_traps(worktree: Path) -> dict[bytes, int]:
    """Path and size of what was removed; the size is 0 for what is no file.

    None of the agent's processes may be left.
    """
    found: dict[bytes, int] = {}
    give_up = time.monotonic() + SEARCH_S
    waiting = [] if worktree.is_symlink() else [worktree]  # as root nothing of the agent's is followed
    for folder in waiting:  # it grows on the way
        if time.monotonic() > give_up:
            break
        in_git = folder.name == ".git"
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if folder == worktree and entry.name == ".git":
                    continue  # nobody asks git about it
                if entry.is_dir(follow_symlinks=False):
                    waiting += [] if in_git else [Path(entry.path)]
                elif (size := _trap(entry, in_git)) is not None:
                    Path(entry.path).unlink()
                    found[os.fsencode(Path(entry.path).relative_to(worktree))] = size
    return found


def _trap(entry: os.DirEntry[str], in_git: bool) -> int | None:
    """Its size, if it is one. Of links git follows only these.

    https://github.com/git/git/blob/master/setup.c (is_git_directory)
    """
    if entry.is_symlink():
        return 0 if entry.name == ("commondir" if in_git else ".git") else None
    if not entry.is_file():
        return 0 if in_git or entry.name in _RULES else None
    if entry.name not in (("commondir",) if in_git else _RULES):
        return None
    size = entry.stat(follow_symlinks=False).st_size
    return size if size > RULES_MAX_BYTES else None
