"""What the agent's commands leave behind: every process of its is killed and reaped, whatever it does, and
what holds memory without any process is removed.

The supervisor is a child subreaper: a process that loses its parent becomes our child. When to clear away is
the journey's to decide; running the commands is `processes`'.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Mapping

from flaude_guest import memory
from flaude_guest.places import as_user

if TYPE_CHECKING:
    from flaude_guest.places import Identity, Places

_KILL_EVERYTHING_OF_MINE = ("/bin/sh", "-c", "kill -s KILL -- -1")
_KILLING_S = 1.0
"""It takes milliseconds, unless a process of the same uid stops it."""
_IN_MEMORY = ("tmpfs", "ramfs")
_IPC_RMID = 0


class Leftovers:
    """The agent's processes; without a uid of its own, our own descendants."""

    def __init__(self, agent: Identity) -> None:
        self._agent = agent
        self._libc = ctypes.CDLL(None, use_errno=True)

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
            with memory.scored(memory.EQUAL):
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

    def free_memory(self, places: Places) -> None:
        """Remove what fills memory though nobody runs: System V's objects, and files that are in memory.

        Called when none of the agent's processes is left; in our own process, for which there may be the last
        memory. Without a uid of its own nothing can be told to be the agent's.
        """
        if self._agent.uid is None:
            return
        removals: tuple[tuple[str, Callable[[int], int]], ...] = (
            ("shmid", lambda number: int(self._libc.shmctl(number, _IPC_RMID, None))),
            ("msqid", lambda number: int(self._libc.msgctl(number, _IPC_RMID, None))),
            ("semid", lambda number: int(self._libc.semctl(number, 0, _IPC_RMID))),
        )
        for name, remove in removals:
            for number in _system_v(name, self._agent.uid):
                if remove(number) != 0:
                    self._as_agent(remove, number)
        for mount in _mounted_in_memory(places):
            _remove_below(mount, self._agent.uid)

    def _as_agent(self, remove: Callable[[int], int], number: int) -> None:
        """Only its owner may, where root has no CAP_SYS_ADMIN. No process of the owner's is left to mind."""
        with contextlib.suppress(OSError):
            os.seteuid(self._agent.uid or 0)
            try:
                remove(number)
            finally:
                os.seteuid(0)

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


def _system_v(name: str, uid: int) -> Iterator[int]:
    """Ids of an owner's objects; `name` is their column's. https://man7.org/linux/man-pages/man7/sysvipc.7.html"""
    try:
        table = {"shmid": "shm", "msqid": "msg", "semid": "sem"}[name]
        head, *rows = Path("/proc/sysvipc", table).read_text("ascii", "replace").splitlines()
    except OSError:
        return  # a kernel without them
    for row in rows:
        told = dict(zip(head.split(), row.split()))  # noqa: B905 - `strict` is Python 3.10
        if str(uid) in (told.get("uid"), told.get("cuid")):
            yield int(told[name])


def _mounted_in_memory(places: Places) -> list[str]:
    """Where file systems in memory are, but for those that hold our folders or the work itself."""
    ours = [str(folder) for folder in (places.run, places.state, places.work)]
    found = []
    for line in Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines():
        _, mount, kind, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        holds = any(folder == mount or folder.startswith(mount.rstrip("/") + "/") for folder in ours)
        if kind in _IN_MEMORY and not holds and not mount.startswith(("/proc/", "/sys/", *ours)):
            found.append(mount)
    return found


def _remove_below(top: str, uid: int) -> None:
    """Files and links of an owner, and its folders where they have become empty. Follows no link."""
    folders = [top]
    for folder in folders:  # it grows on the way
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.stat(follow_symlinks=False).st_uid == uid:
                    Path(entry.path).unlink()
    for folder in reversed(folders[1:]):
        with contextlib.suppress(OSError):
            if Path(folder).lstat().st_uid == uid:
                Path(folder).rmdir()


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
