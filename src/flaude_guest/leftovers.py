"""What the agent's commands leave behind: every process of its is killed and reaped, whatever it does.

The supervisor is a child subreaper: a process that loses its parent becomes our child. When to clear away is
the journey's to decide; running the commands is `processes`'.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Mapping

from flaude_guest.places import as_user

if TYPE_CHECKING:
    from flaude_guest.places import Identity

_KILL_EVERYTHING_OF_MINE = ("/bin/sh", "-c", "kill -s KILL -- -1")
_KILLING_S = 1.0
"""It takes milliseconds, unless a process of the same uid stops it."""


class Leftovers:
    """The agent's processes; without a uid of its own, our own descendants."""

    def __init__(self, agent: Identity) -> None:
        self._agent = agent

    def end_all(self, patience_s: float = 10.0) -> int:
        """Kill and reap until none is left; returns how many defied us. For the journey's thread only."""
        deadline = time.monotonic() + patience_s
        while True:
            reap(None)
            left = self._pids()
            if not left or time.monotonic() > deadline:
                return len(left)
            if self._agent.uid is not None:
                self._kill_as_agent()
            self.kill_all()
            reap(None)
            if self._pids():
                time.sleep(0.005)

    def kill_all(self) -> None:
        """SIGKILL to every one of them; safe in any thread."""
        for pid in self._pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # gone by itself; or, where we are not root, become somebody else's

    def _kill_as_agent(self) -> None:
        """kill(-1) reaches all processes of the uid in one step, so a fork in progress cannot escape it."""
        try:
            subprocess.run(
                _KILL_EVERYTHING_OF_MINE,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                timeout=_KILLING_S,
                **as_user(self._agent),
            )
        except (OSError, subprocess.TimeoutExpired):
            return  # the uid is at its process limit, or has stopped ours: kill_all goes one by one

    def _pids(self) -> list[int]:
        table = _process_table()
        if self._agent.uid is not None:
            return [pid for pid, (_, uids) in table.items() if self._agent.uid in uids]
        return _descendants(os.getpid(), {pid: parent for pid, (parent, _) in table.items()})


def reap(process: subprocess.Popen[bytes] | None) -> bool:
    """Reap orphans that became ours; True when `process` itself has ended.

    Looking before reaping keeps `process`'s status for `Popen`.
    """
    while True:
        try:
            seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return process is not None and process.poll() is not None
        if seen is None:
            return False
        if process is not None and seen.si_pid == process.pid:
            return process.poll() is not None
        os.waitpid(seen.si_pid, os.WNOHANG)


def _process_table() -> dict[int, tuple[int, frozenset[int]]]:
    """pid -> (parent, its uids), without zombies, from /proc/PID/status."""
    table = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            lines = (folder / "status").read_text("utf-8", "replace").splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # gone by itself; or /proc hides what is not ours, and nothing is hidden from root
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if fields.get("State", "?")[0] not in "ZX":
            table[int(folder.name)] = (int(fields["PPid"]), frozenset(map(int, fields["Uid"].split())))
    return table


def _descendants(root: int, parents: Mapping[int, int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
