"""Reading one file that the workflow names, and only if it truly lies in the workspace.

Writing into the workspace is `artifacts`'.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


_CHECK_OUT = "Check out first (`actions/checkout`), or correct the name: it counts from the workspace."
_SHORTER = "Shorten it: long texts can stay in files of the repository that are named in the prompt."


class NotReadable(Exception):
    """Why the file is refused, as the end of a sentence that begins with its name; and what to do instead."""

    def __init__(self, reason: str, hint: str = "Name a text file in the checked-out workspace.") -> None:
        super().__init__(reason)
        self.hint = hint


def read_workspace_file(workspace: Path, name: str, limit: int) -> str:
    """The UTF-8 text of a regular file of at most `limit` bytes under `workspace`.

    Links are followed while they stay in the workspace; the file is then opened through its resolved path one
    folder at a time without following anything, so that a link put there in between is refused as well.
    `.git` is closed: checkout leaves a token there. Raises NotReadable.
    """
    if not name or "\0" in name:
        raise NotReadable("is not a file name")
    try:
        root = workspace.resolve(strict=True)
        path = (root / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # a loop of links before Python 3.13; half a surrogate pair
        raise NotReadable("does not exist in the workspace", _CHECK_OUT) from None
    if not path.is_relative_to(root):
        raise NotReadable("leads out of the workspace")
    parts = path.relative_to(root).parts
    if ".git" in parts:
        raise NotReadable("is inside `.git`")
    data = _read_regular(root, parts, limit)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotReadable("is not UTF-8 text") from None
    if "\0" in text:  # as in UTF-16; and no process could be handed it
        raise NotReadable("is not UTF-8 text")
    return text


def _read_regular(root: Path, parts: tuple[str, ...], limit: int) -> bytes:
    opened: list[int] = []
    try:
        opened.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for index, part in enumerate(parts):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            if index < len(parts) - 1:
                flags |= os.O_DIRECTORY
            opened.append(os.open(part, flags, dir_fd=opened[-1]))
        status = os.fstat(opened[-1])
        if not stat.S_ISREG(status.st_mode):
            raise NotReadable("is not a regular file")
        if status.st_size > limit:
            raise NotReadable(f"has {status.st_size} bytes, {limit} are allowed", _SHORTER)
        with os.fdopen(os.dup(opened[-1]), "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise NotReadable(f"cannot be read ({os.strerror(error.errno or 0)})") from None
    finally:
        for descriptor in opened:
            os.close(descriptor)
    if len(data) > limit:
        raise NotReadable(f"has more than the {limit} bytes allowed", _SHORTER)
    return data
