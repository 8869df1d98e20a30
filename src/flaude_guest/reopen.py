"""Give the owner of a work tree back the right to read all of it: the program that `changeset` runs for that.

Started as root it first becomes UID and GID, the owner, so that it has no other rights; without them it stays
who it is. AROUND is a folder around the work tree, of which only the folder itself counts. Links are not
followed, and the tree's own `.git` is left alone. Prints how many folders stay closed; exits with 1 for any.

    reopen.py [UID GID] AROUND TREE
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Iterator

FOLDER_BITS = 0o500
FILE_BITS = 0o400


def main() -> int:
    *ids, around, tree = sys.argv[1:]
    if ids:
        os.setgroups([])
        os.setgid(int(ids[1]))
        os.setuid(int(ids[0]))
    _allow(around, FOLDER_BITS)
    closed, waiting = 0, [tree]
    while waiting:
        folder = waiting.pop()
        try:
            waiting += [inner for inner in _open(folder) if inner != tree + "/.git"]
        except OSError:
            closed += 1
    sys.stdout.write("%d\n" % closed)
    return 1 if closed else 0


def _open(folder: str) -> Iterator[str]:
    """The folders in it, with its files made readable on the way. Raises OSError when it stays closed."""
    _allow(folder, FOLDER_BITS)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path
            elif entry.is_file(follow_symlinks=False):
                _allow(entry.path, FILE_BITS)


def _allow(name: str, bits: int) -> None:
    """A file that stays closed is no concern of ours: git fails over it if it matters."""
    with contextlib.suppress(OSError):
        path = Path(name)
        mode = path.stat().st_mode & 0o7777
        if mode & bits != bits:
            path.chmod(mode | bits)


if __name__ == "__main__":
    sys.exit(main())
