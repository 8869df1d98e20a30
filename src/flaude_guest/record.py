"""What the guest knows about its own run, and who waits for it to change: phase, times, the frozen result.

One thread (the journey) writes, the control server's threads read. How verbs are spoken is in `control`.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

from flaude_guest import clock, protocol
from flaude_guest.holding import Holding

if TYPE_CHECKING:
    from flaude_guest.job import Job
    from flaude_guest.output import Output


class Wake:
    """A pipe that ends a `select`: written to by signals, verbs and timers, watched by the journey."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)

    def up(self) -> None:
        try:
            os.write(self.writer, b"w")
        except BlockingIOError:
            return  # full: the sleeper is about to wake anyway

    def clear(self) -> None:
        try:
            while os.read(self.reader, 4096):
                pass
        except BlockingIOError:
            return


class TooLate(Exception):
    """A job came when the guest had given up waiting."""


class Record:
    """The run as the host sees it. `stop` is the first reason that was given to end the work early."""

    def __init__(self, nonce: str, output: Output, wake: Wake) -> None:
        self.nonce = nonce
        self.job: Job | None = None
        self.stop = ""
        self.terminated = False
        self.released = False
        self.phase = "waiting"
        self.times: dict[str, list[float | None]] = {"waiting": [clock.now(), None]}
        self.result: dict[str, Any] | None = None
        self.result_text = b""
        self.holding = Holding()
        self._closed = self._inline = False
        self._digest: str | None = None
        self._seq = 0
        self._output = output
        self._wake = wake
        self._changed = threading.Condition()

    def boot(self, **facts: Any) -> None:
        """The guest's first line."""
        self._seq += 1
        self._output.event({"seq": self._seq, "type": "boot", "protocol": protocol.PROTOCOL, **facts})

    def enter(self, phase: str) -> None:
        """Move on; the phase before ends now."""
        with self._changed:
            seq = self._move(phase)
            self._changed.notify_all()
        # With the lock given back: a log that nobody reads keeps the journey waiting, but no verb.
        self._output.event({"seq": seq, "type": "phase", "phase": phase})

    def finish(self, result: dict[str, Any]) -> None:
        """Freeze the result and hold. `result` lacks only `lines`, `times` and `finished_at`."""
        with self._changed:
            seq = self._move("hold")
            ended = {name: list(span) for name, span in self.times.items() if name != "hold"}
            lines = self._output.lines + 1
            self.result = {**result, "lines": lines, "times": ended, "finished_at": clock.now()}
            self._digest = protocol.digest(self.result)
            self.result_text = protocol.canonical_json(self.result).encode("ascii")
            # Measured as it is written there: with spaces, which may be a third of it.
            self._inline = len(json.dumps(self.result)) <= protocol.RESULT_INLINE_BYTES
            files = dict(result.get("files", {}))
            self.holding.begin(
                files if self._inline else {**files, "result": {"size": len(self.result_text)}}
            )
            self._changed.notify_all()
        self._output.event({"seq": seq, "type": "result", "ok": result["ok"], "lines": lines})

    def provision(self, job: Job) -> bool:
        """Take the job; False when one was taken before. Raises TooLate when nobody waits for it."""
        with self._changed:
            if self._closed:
                raise TooLate
            if self.job is not None:
                return False
            self.job = job
        self._wake.up()
        return True

    def close(self) -> bool:
        """Take no job from now on; False, and nothing changes, when there is one."""
        with self._changed:
            self._closed = self.job is None
            return self._closed

    def ask_to_stop(self, reason: str) -> None:
        """`cancelled` (verb), `terminated` (signal): the first reason stays."""
        self.stop = self.stop or reason
        self.terminated = self.terminated or reason == "terminated"
        self._wake.up()

    def release(self) -> None:
        with self._changed:
            self.released = True
            self._move("released")
            self._changed.notify_all()
        self._wake.up()

    def status(self, after: int, wait_s: float, settle_s: float = 0.0) -> dict[str, Any]:
        """The status document, as soon as `seq` is over `after`, at the latest after `wait_s`.

        Without a result in it, not before `settle_s` (at most `wait_s`) have passed.
        """
        until = clock.since_boot() + wait_s
        with self._changed:
            self._changed.wait_for(lambda: self._result_after(after), timeout=min(settle_s, wait_s))
            self._changed.wait_for(lambda: self._seq > after, timeout=until - clock.since_boot())
            return self._document()

    def status_when_held(self, wait_s: float) -> dict[str, Any]:
        """The status document once there is a result, at the latest after `wait_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self.result is not None, timeout=wait_s)
            return self._document()

    def _result_after(self, seq: int) -> bool:
        return self.result is not None and self._seq > seq

    def _move(self, phase: str) -> int:
        """The new `seq`."""
        now = clock.now()
        if self.phase in self.times:
            self.times[self.phase][1] = now
        self.times[phase] = [now, None]
        self.phase = phase
        self._seq += 1
        return self._seq

    def _document(self) -> dict[str, Any]:
        return {
            "protocol": protocol.PROTOCOL,
            "nonce": self.nonce,
            "seq": self._seq,
            "phase": self.phase,
            "times": {name: list(span) for name, span in self.times.items()},
            "result": self.result if self._inline else None,
            "result_digest": self._digest,
            "result_bytes": len(self.result_text),
        }
