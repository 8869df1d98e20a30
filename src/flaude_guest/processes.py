"""Running one command at a time as another user, and making sure that nothing of it stays behind.

The supervisor is a child subreaper: whatever a command leaves running becomes our child, is killed between
phases, and is reaped. Which commands run, and for how long, is decided by the callers.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from flaude_guest.pipes import Pumps, Sink

if TYPE_CHECKING:
    from flaude_guest.places import Identity
    from flaude_guest.record import Wake

TICK_S = 0.2
TERM_GRACE_S = 5.0
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_KILL_EVERYTHING_OF_MINE = ("/bin/sh", "-c", "kill -s KILL -- -1")

Watch = Callable[[], str]
"""Asked several times a second; a non-empty answer is the reason to end the command."""


@dataclass(frozen=True)
class Ended:
    """How a command ended. Exactly one of `exit_code` and `signal` is set.

    `cut` is our reason if we ended it, `cut_at` when we did (epoch).
    """

    exit_code: int | None
    signal: int | None
    cut: str = ""
    cut_at: float | None = None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.cut

    @property
    def code(self) -> int:
        """As a shell says it: 128 + signal."""
        return 128 + self.signal if self.signal is not None else int(self.exit_code or 0)


def _ignore(_data: bytes) -> None:
    return


def _never() -> str:
    return ""


class Processes:
    """Starts, ends and reaps. Only the journey's thread may call anything but `kill_all`."""

    def __init__(self, agent: Identity, wake: Wake) -> None:
        self._agent = agent
        self._wake = wake

    def prepare(self) -> None:
        """Become a subreaper, give up gaining privileges, and let a child's end wake the journey."""
        libc = ctypes.CDLL(None, use_errno=True)
        for option in (_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS):
            # Inherited by children, so no code has to run between fork and exec, which threads forbid.
            if libc.prctl(option, 1, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl %d" % option)
        signal.set_wakeup_fd(self._wake.writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(
        self,
        argv: Sequence[str],
        *,
        who: Identity | None,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes = b"",
        out: Sink = _ignore,
        err: Sink | None = None,
        watch: Watch = _never,
        at_once: frozenset[str] = frozenset({"cancelled", "collect"}),
    ) -> Ended:
        """Run to the end, or until `watch` gives a reason: then SIGTERM, and SIGKILL 5 s later.

        Reasons in `at_once` get SIGKILL straight away. Without `err` both streams go to `out`. Raises OSError
        when the program cannot be started.
        """
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if err is None else subprocess.PIPE,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
            bufsize=0,
            **_as_user(who),
        )
        with process:
            try:
                pumps = Pumps(process, stdin, out, err, self._wake)
                cut, cut_at = self._attend(process, pumps, watch, at_once)
                pumps.drain()
            except BaseException:
                _signal_group(process, signal.SIGKILL)  # or leaving the block would wait for it
                raise
        code = process.returncode
        return Ended(code if code >= 0 else None, -code if code < 0 else None, cut, cut_at)

    def _attend(
        self, process: subprocess.Popen[bytes], pumps: Pumps, watch: Watch, at_once: frozenset[str]
    ) -> tuple[str, float | None]:
        """Pump until the process is gone; what it left running does not keep us. Returns (cut, cut_at)."""
        cut, cut_at, kill_at = "", None, 0.0
        while True:
            pumps.turn(TICK_S)
            if self._reap(process):
                return cut, cut_at
            if not cut:
                cut = watch()
                if cut:
                    cut_at, kill_at = time.time(), time.monotonic() + TERM_GRACE_S
                    _signal_group(process, signal.SIGKILL if cut in at_once else signal.SIGTERM)
            elif time.monotonic() >= kill_at:
                _signal_group(process, signal.SIGKILL)

    def _reap(self, process: subprocess.Popen[bytes] | None) -> bool:
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

    def pause(self, seconds: float, watch: Watch) -> str:
        """Sleep; returns early with the reason when `watch` has one."""
        until = time.monotonic() + seconds
        reason = watch()
        while not reason and time.monotonic() < until:
            select.select([self._wake.reader], [], [], min(TICK_S, max(0.0, until - time.monotonic())))
            self._wake.clear()
            self._reap(None)
            reason = watch()
        return reason

    def end_all(self, patience_s: float = 10.0) -> int:
        """Kill and reap every process of the agent until none is left; returns how many defied us."""
        deadline = time.monotonic() + patience_s
        while True:
            self._reap(None)
            left = self._pids()
            if not left or time.monotonic() > deadline:
                return len(left)
            if self._agent.uid is not None:
                self._kill_as_agent()
            self.kill_all()
            self._reap(None)
            if self._pids():
                time.sleep(0.005)

    def kill_all(self) -> None:
        """SIGKILL to every process of the agent; safe in any thread."""
        for pid in self._pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # gone by itself

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
                **_as_user(self._agent),
            )
        except OSError:
            return  # the uid is at its process limit: kill_all goes one by one

    def _pids(self) -> list[int]:
        table = _process_table()
        if self._agent.uid is not None:
            return [pid for pid, (_, uids, _) in table.items() if self._agent.uid in uids]
        return _descendants(os.getpid(), {pid: parent for pid, (parent, _, _) in table.items()})


def _as_user(who: Identity | None) -> dict[str, Any]:
    if who is None or who.uid is None:
        return {}
    return {"user": who.uid, "group": who.gid, "extra_groups": []}


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # it has just ended


def _process_table() -> dict[int, tuple[int, frozenset[int], str]]:
    """pid -> (parent, its uids, state), without zombies, from /proc/PID/status."""
    table = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            lines = (folder / "status").read_text("utf-8", "replace").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        state = fields.get("State", "?")[0]
        if state not in "ZX":
            table[int(folder.name)] = (int(fields["PPid"]), frozenset(map(int, fields["Uid"].split())), state)
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
