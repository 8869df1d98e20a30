"""Processes as /proc tells them: who carries a machine's mark, and is it still the same process.

Linux only, like the process backend.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

MARK = "LOCALFLY_MACHINE"
"""Environment variable in everything the process backend starts."""

_PROC = Path("/proc")


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid a name for good. None: gone."""
    stat = _stat(pid)
    return int(stat[19]) if stat and stat[0] != "Z" else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the program's name, which may itself hold spaces and parentheses."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def marked(machine_id: str) -> list[int]:
    """Every process that still has the machine's mark in its environment, whoever its parent is now."""
    needle = f"{MARK}={machine_id}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # gone, or not ours to read
        if needle in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
