"""The pipes of a running command: what it prints is handed on, what it reads is fed, and nothing blocks."""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import termios
from typing import IO, TYPE_CHECKING, Callable, cast

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
                self._read(cast("IO[bytes]", key.fileobj), key.data)

    def drain(self) -> None:
        """Take what the ended process had written: what is in its pipes now, and not what those who inherited
        them go on to write."""
        for pipe, sink in self._sinks:
            left = _waiting(pipe)
            while left > 0:
                left -= self._read(pipe, sink, left) or left
        self._select.close()

    def _read(self, pipe: IO[bytes], sink: Sink, most: int = CHUNK_BYTES) -> int:
        """How many bytes there were; 0 for none."""
        try:
            data = os.read(pipe.fileno(), min(most, CHUNK_BYTES))
        except BlockingIOError:
            return 0
        if data:
            sink(data)
        else:
            self._select.unregister(pipe)
            pipe.close()
        return len(data)

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


def _waiting(pipe: IO[bytes]) -> int:
    """Bytes that can be read at once: https://man7.org/linux/man-pages/man7/pipe.7.html (FIONREAD)."""
    if pipe.closed:
        return 0
    return int(struct.unpack("i", fcntl.ioctl(pipe.fileno(), termios.FIONREAD, b"\0" * 4))[0])
