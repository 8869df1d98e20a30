"""The init of a process machine: runs its program, adopts and kills whatever it leaves, notes its end.

Started as a script, standard library only, with every signal blocked so that none comes too early:
`process_init.py DIRECTORY PROGRAM ARGUMENT…`. It outlives localfly, so a localfly that comes back still
learns how the program ended: from DIRECTORY/exit.json. Signals it gets go to the program; SIGRTMIN kills
everything.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
KILL_ALL = signal.SIGRTMIN
_PATIENCE_S = 5.0


def descendants(of: int) -> set[int]:
    """All processes below one; as subreaper we are above everything the program ever started."""
    parent_of: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            parent_of[int(entry.name)] = int(parent)
    found: set[int] = set()
    layer = {of}
    while layer:
        layer = {pid for pid, parent in parent_of.items() if parent in layer} - found
        found |= layer
    return found


def kill_descendants() -> None:
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_everything() -> None:
    """Kill until nothing is left below us, reaping as we go."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        kill_descendants()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        time.sleep(0.002)


def forget_handlers() -> None:
    """No signal is ignored or means KeyboardInterrupt: Python's own way with some must not be inherited."""
    for number in signal.valid_signals():
        if signal.getsignal(number) in (signal.SIG_IGN, signal.default_int_handler):
            signal.signal(number, signal.SIG_DFL)


def spawn(command: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, no shell
    except OSError as error:
        os.write(2, f" ERROR Error: failed to spawn command: {command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def main(directory: str, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    forget_handlers()
    child = spawn(command)
    status: int | None = None
    while status is None:
        number = signal.sigwait(signal.valid_signals())
        if number == KILL_ALL:
            kill_descendants()
        elif number != signal.SIGCHLD:
            os.kill(child, number)
        status = reap(child)
    kill_everything()
    note = Path(directory, "exit.json.new")
    note.write_text(json.dumps({"status": status}))
    note.replace(Path(directory, "exit.json"))


def reap(child: int) -> int | None:
    """Reap all that ended; the wait status of `child` if it is among them."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == child:
            status = ended
        if pid == 0:
            return status


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
