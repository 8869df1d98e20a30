"""Give the owner of a work tree back the right to read all of it: the program that `changeset` runs for that.

Started as root it first becomes UID and GID, the owner, so that it has no other rights; without them it stays
who it is. AROUND is a folder around the work tree, of which only the folder itself counts. Links are not
followed, and the tree's own `.git` is left alone. Prints what stays closed, WHY and path, each ended by NUL:
`unreadable`, or `too_deep` for a folder below which paths are longer than the system takes.

    reopen.py [UID GID] AROUND TREE
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Iterator

FOLDER_BITS = 0o500
FILE_BITS = 0o400
PATH_BYTES = 4096


def main() -> int:
    *ids, around, tree = sys.argv[1:]
    if ids:
        os.setgroups([])
        os.setgid(int(ids[1]))
        os.setuid(int(ids[0]))
    for folder in (around, tree):
        _allow(folder, FOLDER_BITS)
    os.chdir(tree)  # git knows the paths from here, and the longest path counts from here
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            waiting += [inner for inner in _open(folder) if inner != ".git"]
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                _tell("too_deep", folder.rpartition("/")[0])
            else:
                _tell("unreadable", folder)
    return 0


def _open(folder: str) -> Iterator[str]:
    """The folders in it, with its files made readable on the way. Raises OSError when it stays closed."""
    _allow(folder or ".", FOLDER_BITS)
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            path = folder + "/" + entry.name if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield path
            elif entry.is_file(follow_symlinks=False):
                _allow(path, FILE_BITS)
                if not os.access(path, os.R_OK) and len(os.fsencode(path)) < PATH_BYTES:
                    _tell("unreadable", path)


def _tell(why: str, path: str) -> None:
    sys.stdout.buffer.write(os.fsencode(why + "\0" + path + "\0"))


def _allow(name: str, bits: int) -> None:
    """What stays closed is told by who looks into it."""
    with contextlib.suppress(OSError):
        path = Path(name)
        mode = path.stat().st_mode & 0o7777
        if mode & bits != bits:
            path.chmod(mode | bits)


if __name__ == "__main__":
    sys.exit(main())
