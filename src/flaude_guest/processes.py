"""Running one command at a time as another user: to its end, or to the first reason to end it.

Which commands run, and for how long, is decided by the callers; what they leave running is `leftovers`'.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, Sequence

from flaude_guest import clock, control_group, memory
from flaude_guest.leftovers import reap
from flaude_guest.pipes import Pumps, Sink
from flaude_guest.places import as_user

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.places import Identity
    from flaude_guest.record import Wake

TICK_S = 0.2
TERM_GRACE_S = 5.0
_HURRIED = frozenset({"cancelled", "collect"})
"""Reasons with somebody waiting behind them."""
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

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


class NotStarted(OSError):
    """The program, or the folder to run it in, is not there, or the machine can start no more."""


def _ignore(_data: bytes) -> None:
    return


def _never() -> str:
    return ""


class Processes:
    """Starts, ends and reaps. For the journey's thread only."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._group: control_group.ControlGroup | None = None

    def prepare(self, *, confine: bool = False) -> None:
        """Become a subreaper, give up gaining privileges, and let a child's end wake the journey.

        `confine` says that the machine is ours, and gives the work a control group of its own on it.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        for option in (_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS):
            # Inherited by children, so no code has to run between fork and exec, which threads forbid.
            if libc.prctl(option, 1, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl %d" % option)
        signal.set_wakeup_fd(self._wake.writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        memory.be_killed_last()
        if confine:
            self._group = control_group.make()

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
        ours: bool = False,
    ) -> Ended:
        """Run to the end, or until `watch` gives a reason: then SIGTERM, and SIGKILL 5 s later.

        Reasons that are in a hurry get SIGKILL straight away, also when they come after another one. Without
        `err` both streams go to `out`. What is not `ours` is the work's: when memory runs out it goes first.
        Raises NotStarted.
        """
        try:
            with self._standing(ours):
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT if err is None else subprocess.PIPE,
                    cwd=cwd,
                    env=dict(env),
                    start_new_session=True,
                    bufsize=0,
                    **as_user(who),
                )
        except OSError as error:
            raise NotStarted(error.errno, error.strerror) from error
        with process:
            try:
                pumps = Pumps(process, stdin, out, err, self._wake)
                cut, cut_at = self._attend(process, pumps, watch)
                pumps.drain()
            except BaseException:
                _signal_group(process, signal.SIGKILL)  # or leaving the block would wait for it
                raise
        code = process.returncode
        return Ended(code if code >= 0 else None, -code if code < 0 else None, cut, cut_at)

    @contextlib.contextmanager
    def _standing(self, ours: bool) -> Iterator[None]:
        """What is started inside counts as ours or as the work's when memory runs out."""
        with contextlib.ExitStack() as standing:
            if not ours and self._group is not None:
                standing.enter_context(self._group.entered())
            standing.enter_context(memory.scored(memory.EQUAL if ours else memory.EXPENDABLE))
            yield

    def _attend(
        self, process: subprocess.Popen[bytes], pumps: Pumps, watch: Watch
    ) -> tuple[str, float | None]:
        """Pump until the process is gone; what it left running does not keep us. Returns (cut, cut_at)."""
        cut, cut_at, kill_at = "", None, 0.0
        while True:
            pumps.turn(TICK_S)
            if reap(process):
                return cut, cut_at
            if not cut:
                cut = watch()
                if cut:
                    cut_at, kill_at = clock.now(), time.monotonic() + TERM_GRACE_S
                    _signal_group(process, signal.SIGKILL if cut in _HURRIED else signal.SIGTERM)
            elif time.monotonic() >= kill_at or watch() in _HURRIED:
                _signal_group(process, signal.SIGKILL)

    def pause(self, seconds: float, watch: Watch) -> str:
        """Sleep; returns early with the reason when `watch` has one."""
        until = time.monotonic() + seconds
        reason = watch()
        while not reason and time.monotonic() < until:
            select.select([self._wake.reader], [], [], min(TICK_S, max(0.0, until - time.monotonic())))
            self._wake.clear()
            reap(None)
            reason = watch()
        return reason


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # it has just ended
