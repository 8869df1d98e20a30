"""The machine's main process: `python -m flaude_guest.supervisor [--isolated]`.

It boots the guest, waits to be provisioned, lets `journey` do the work, holds the result until it is
released, and always ends with the exit line: on failures, on signals, on bugs of its own, and when the
machine's time is up. With `--isolated` (our image) the work is the user `agent`'s; without, it is done as
whoever we are, and the log says so.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Mapping, NoReturn, Sequence

from flaude_guest import clock, protocol, workspace
from flaude_guest.checks import Problem, check
from flaude_guest.control import Control
from flaude_guest.journey import Journey
from flaude_guest.leftovers import Leftovers
from flaude_guest.outcome import EXIT_CANCELLED, EXIT_TERMINATED, EXIT_TIMEOUT, EXIT_UNUSABLE
from flaude_guest.output import Output
from flaude_guest.places import Places
from flaude_guest.processes import Processes
from flaude_guest.record import Record, Wake

if TYPE_CHECKING:
    from flaude_guest.job import Limits

EXIT_UNPROVISIONED = 75
DEADLINE_DEFAULT_S = 6 * 3600.0
"""The longest a GitHub-hosted job may run."""
TERMINATED_HOLD_S = 5.0
"""After a SIGTERM the platform's patience is short, but a host that is reading gets its result."""

LAST_WORD_S = 5.0
"""How long anybody may block our way out."""


class Supervisor:
    """The guest's life around the work."""

    def __init__(self, environ: Mapping[str, str], output: Output, *, isolated: bool) -> None:
        self._output = output
        self._born = clock.since_boot()
        self._window_s = _seconds(environ, protocol.ENV_PROVISION_S, protocol.PROVISION_WINDOW_S)
        self._deadline_s = _seconds(environ, protocol.ENV_DEADLINE_S, DEADLINE_DEFAULT_S)
        nonce = environ.get(protocol.ENV_NONCE) or ""
        if not nonce:
            raise LookupError("%s is not set; this image is started by flaude-action" % protocol.ENV_NONCE)
        self._places = Places.of(environ, isolated=isolated)
        wake = Wake()
        self._record = Record(nonce, output, wake)
        self._processes = Processes(wake)
        self._leftovers = Leftovers(self._places.agent)
        self._leaving = threading.Event()
        self._exit_code = EXIT_UNUSABLE

    def live(self) -> int:
        """From boot to the exit code."""
        os.umask(0o022)
        # Both from the beginning: when they are needed the work may have used up all threads there may be.
        for end in (self._end_at_deadline, self._leave_anyway):
            threading.Thread(target=end, name=end.__name__, daemon=True).start()
        self._record.boot(isolated=self._places.isolated)
        self._processes.prepare(confine=self._places.isolated)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._record.ask_to_stop("terminated"))
        workspace.prepare(self._places)
        Control(self._places, self._record).start()
        if not self._places.isolated:
            self._output.say("no isolation: the work is done as uid %d, like the supervisor" % os.getuid())
        # Before the job is there, so that nobody waits for it: Claude Code's first start reads a large file.
        problem = check(self._processes, self._places, lambda: self._record.stop)
        unprovisioned = self._await_job()
        if unprovisioned is not None:
            return unprovisioned
        return self._work(problem)

    def _await_job(self) -> int | None:
        """None once there is a job; else the code to exit with."""
        record = self._record
        left_s = self._window_s - (clock.since_boot() - self._born)
        self._processes.pause(left_s, lambda: record.stop or ("job" if record.job else ""))
        if not record.close():
            return None
        if record.stop == "terminated":
            self._output.say("stopped before a job came")
            return EXIT_TERMINATED
        if record.stop:
            self._output.say("cancelled before a job came")
            return EXIT_CANCELLED
        self._output.say("nobody brought a job within %d s" % self._window_s)
        return EXIT_UNPROVISIONED

    def _work(self, problem: Problem | None) -> int:
        record, job = self._record, self._record.job
        assert job is not None  # noqa: S101 - _await_job has seen it
        ends_at = self._born + self._deadline_s - min(30.0, self._deadline_s / 4)
        self._output.hide(job.secrets)
        journey = Journey(job, self._places, self._processes, record, self._output, ends_at)
        outcome = journey.go(problem)
        record.finish(outcome.document(record.nonce, self._places.state))
        self._hold(job.limits)
        return outcome.exit_code

    def _hold(self, limits: Limits) -> None:
        """Keep the result for the host. A signal shortens the hold; if it comes only now it ends it."""
        record, before = self._record, self._record.terminated

        def over() -> str:
            ended = record.released or (record.terminated and not before) or record.holding.over(limits)
            return "over" if ended else ""

        self._processes.pause(min(limits.hold_s, TERMINATED_HOLD_S) if before else limits.hold_s, over)

    def _end_at_deadline(self) -> None:
        """The dead-man timer: no machine outlives its deadline, whatever the journey is stuck in."""
        while True:
            left_s = self._born + self._deadline_s - clock.since_boot()
            if left_s <= 0:
                break
            time.sleep(min(left_s, 1.0))
        result = self._record.result
        code = result["exit_code"] if result else EXIT_TIMEOUT
        self._make_way(code)
        self._output.say("the machine's deadline of %d s has passed" % self._deadline_s)
        leave(self._output, code)

    def leave(self, code: int) -> NoReturn:
        """Kill what is left, say the last word, and go without waiting for anybody."""
        self._make_way(code)
        leave(self._output, code)

    def _make_way(self, code: int) -> None:
        self._exit_code = code
        self._leaving.set()
        self._leftovers.kill_all()

    def _leave_anyway(self) -> None:
        """A stdout that nobody reads must not keep the machine alive."""
        self._leaving.wait()
        time.sleep(LAST_WORD_S)
        os._exit(self._exit_code)


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    value = float(environ.get(name) or default)
    if not 0 < value < math.inf:  # nan too: no clock ever reaches it
        raise ValueError("%s is not a number of seconds" % name)
    return value


def leave(output: Output, code: int) -> NoReturn:
    output.exit(code)
    os._exit(code)


def main(args: Sequence[str]) -> NoReturn:
    """Never returns: whatever happens, the process ends with the exit line."""
    output = Output()
    environ = dict(os.environ)
    os.environ.clear()  # nothing of the machine's configuration reaches a child by accident
    supervisor = None
    try:
        supervisor = Supervisor(environ, output, isolated="--isolated" in args)
        code = supervisor.live()
    except (LookupError, ValueError, OSError) as error:
        output.say("the guest cannot run: %s" % error)
        code = EXIT_UNUSABLE
    except BaseException:
        for line in traceback.format_exc().splitlines():
            output.pass_on(line)
        code = EXIT_UNUSABLE
    if supervisor is not None:
        supervisor.leave(code)
    leave(output, code)


if __name__ == "__main__":
    main(sys.argv[1:])
