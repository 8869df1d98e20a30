"""Add the users of a machine to a base image that may have any: free names, free ids, homes of their own.

A user of ours is known by its comment field (`flaude agent`), which is how the guest finds it. The files are
written directly, because many a small base image has no `useradd`.
https://man7.org/linux/man-pages/man5/passwd.5.html
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Iterator

ROLES = ("agent", "verify", "diff")
"""`agent` does the work; `verify` and `diff` are kept apart from it for looking at what it did."""
FIRST_ID = 41000
"""Far from where base images and their file owners begin to count."""


def add_users(root: Path) -> None:
    """Add what is missing of our users below `root`; a base made from our own image has them."""
    users, groups = _entries(root / "etc/passwd"), _entries(root / "etc/group")
    have = {user[4] for user in users if len(user) > 4}
    taken = {entry[0] for entry in users + groups} | {path.name for path in (root / "home").glob("*")}
    ids = {int(entry[2]) for entry in users + groups if len(entry) > 2 and entry[2].isdigit()}
    free_ids = (number for number in count(FIRST_ID) if number not in ids)
    for role in ROLES:
        comment = "flaude " + role
        if comment in have:
            continue
        name = next(each for each in _names(role) if each not in taken)
        _add(root, name, next(free_ids), comment)


def _names(role: str) -> Iterator[str]:
    yield role
    yield "flaude-" + role
    yield from ("flaude-%s-%d" % (role, number) for number in count(2))


def _add(root: Path, name: str, number: int, comment: str) -> None:
    home = "/home/" + name
    shell = "/bin/bash" if (root / "bin/bash").exists() else "/bin/sh"
    _append(root / "etc/passwd", "%s:x:%d:%d:%s:%s:%s" % (name, number, number, comment, home, shell))
    _append(root / "etc/group", "%s:x:%d:" % (name, number))
    if (root / "etc/shadow").exists():
        _append(root / "etc/shadow", name + ":!:0:0:99999:7:::")
    below = root / home.lstrip("/")
    below.mkdir(parents=True, mode=0o755)
    below.chmod(0o700)
    os.chown(below, number, number)


def _entries(file: Path) -> list[list[str]]:
    if not file.exists():
        return []
    return [line.split(":") for line in file.read_text("utf-8", "surrogateescape").splitlines() if line]


def _append(file: Path, line: str) -> None:
    file.parent.mkdir(exist_ok=True)
    before = file.read_bytes() if file.exists() else b""
    gap = b"\n" if before and not before.endswith(b"\n") else b""
    with file.open("ab") as end:
        end.write(gap + line.encode() + b"\n")


if __name__ == "__main__":
    add_users(Path("/"))
