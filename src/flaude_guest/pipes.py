"""The pipes of a running command: what it prints is handed on, what it reads is fed, and nothing blocks."""

from __future__ import annotations

import os
import selectors
from typing import IO, TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import subprocess

    from flaude_guest.record import Wake

CHUNK_BYTES = 64 * 1024

Sink = Callable[[bytes], None]


class Pumps:
    """The three pipes of one process, none of which may block us."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdin: bytes, out: Sink, err: Sink | None, wake: Wake
    ) -> None:
        self._wake = wake
        self._select = selectors.DefaultSelector()
        self._select.register(wake.reader, selectors.EVENT_READ, None)
        self._sinks: list[tuple[IO[bytes], Sink]] = []
        for pipe, sink in ((process.stdout, out), (process.stderr, err)):
            if pipe is not None and sink is not None:
                os.set_blocking(pipe.fileno(), False)
                self._select.register(pipe, selectors.EVENT_READ, sink)
                self._sinks.append((pipe, sink))
        self._input = memoryview(stdin)
        self._stdin = process.stdin
        if self._stdin is not None:
            os.set_blocking(self._stdin.fileno(), False)
            self._select.register(self._stdin, selectors.EVENT_WRITE, None)

    def turn(self, timeout_s: float) -> None:
        """Wait for any pipe, move what can be moved."""
        for key, _ in self._select.select(timeout_s):
            if self._stdin is not None and key.fileobj is self._stdin:
                self._feed(self._stdin)
            elif key.data is None:
                self._wake.clear()
            else:
                self._read(key.fileobj, key.data)

    def drain(self) -> None:
        """Take what the ended process had written, without waiting for those who inherited its pipes."""
        for pipe, sink in self._sinks:
            while self._read(pipe, sink):
                continue
        self._select.close()

    def _read(self, pipe: Any, sink: Sink) -> bool:
        if pipe.closed:
            return False
        try:
            data = os.read(pipe.fileno(), CHUNK_BYTES)
        except BlockingIOError:
            return False
        if data:
            sink(data)
            return True
        self._select.unregister(pipe)
        pipe.close()
        return False

    def _feed(self, stdin: IO[bytes]) -> None:
        try:
            if self._input:
                self._input = self._input[os.write(stdin.fileno(), self._input) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = memoryview(b"")
        if not self._input:
            self._select.unregister(stdin)
            stdin.close()
