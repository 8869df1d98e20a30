"""Is this machine fit to run Claude Code? Asked as the agent's uid, before anything is fetched.

Claude Code itself fails late or says nothing when /tmp, HOME or the disk are unusable, so we look first. The
answer's use is the journey's.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.places import Places
    from flaude_guest.processes import Processes, Watch

FREE_MIN_BYTES = 256 * 1024 * 1024
FULL_BYTES = 16 * 1024 * 1024
FULL_FILES = 16
CLAUDE_START_S = 120.0
"""The binary is large and the first read of a cold disk slow."""

# Named by its process: without isolation several machines share one /tmp.
_WRITE = ': > "$1/.flaude-check-$$" && rm "$1/.flaude-check-$$"'


@dataclass(frozen=True)
class Problem:
    """What is wrong in our own words, and the untrusted line that says why."""

    details: str
    line: str = ""


def check(processes: Processes, places: Places, watch: Watch) -> Problem | None:
    """The first problem found, or None."""
    folders = {"/tmp": "/tmp", "HOME": str(places.agent.home), "the workspace": str(places.work)}  # noqa: S108
    for name, folder in folders.items():
        words = bytearray()
        ended = processes.run(
            ("/bin/sh", "-c", _WRITE, "sh", folder),
            who=places.agent,
            cwd=places.state,
            env={"PATH": places.path},
            out=words.extend,
            watch=watch,
        )
        if not ended.ok:
            return Problem("The agent cannot write to %s." % name, _first_line(words))
    free = free_bytes(places.work)
    if free < FREE_MIN_BYTES:
        return Problem("Only %d MiB of disk space are free." % (free // 2**20))
    return _claude_starts(processes, places, watch)


def _claude_starts(processes: Processes, places: Places, watch: Watch) -> Problem | None:
    words = bytearray()
    give_up = time.monotonic() + CLAUDE_START_S
    try:
        ended = processes.run(
            (places.claude, "--version"),
            who=places.agent,
            cwd=places.work,
            env={"PATH": places.path, "HOME": str(places.agent.home), "DISABLE_AUTOUPDATER": "1"},
            out=words.extend,
            watch=lambda: watch() or ("timeout" if time.monotonic() > give_up else ""),
        )
    except OSError as error:
        return Problem("Claude Code cannot be started.", error.strerror or "")
    if not ended.ok:
        return Problem("`claude --version` ended with %d." % ended.code, _first_line(words))
    return None


def free_bytes(folder: Path) -> int:
    """Bytes an unprivileged process may still write there."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def is_full(folder: Path) -> bool:
    """Whether next to nothing fits in there any more: no bytes, or no files where their number is limited."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < FULL_BYTES or (disk.f_files > 0 and disk.f_favail < FULL_FILES)


def no_room(error: BaseException) -> bool:
    """Whether that is why something of ours failed."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _first_line(words: bytearray) -> str:
    return words.decode("utf-8", "replace").strip().split("\n")[0][:500]
