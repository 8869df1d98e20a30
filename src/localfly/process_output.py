"""What a process machine prints: the file it writes to, followed line by line.

None is lost while localfly is away, because the file is the machine's own and grows through all its launches.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from localfly.backend import Sink

_CHUNK = 1 << 18
_LONGEST_LINE = 1 << 20
_LOOK_S = (0.01, 0.05)


class OutputFile:
    """The file a workload writes to, read line by line from an offset."""

    def __init__(self, path: Path, offset: int, sink: Sink) -> None:
        self._offset, self._sink = offset, sink
        self._rest = b""
        self._file = path.open("rb") if path.exists() else None

    async def follow(self, over: asyncio.Event) -> None:
        """Hand on lines until the writer is over and the file is read out."""
        if self._file is None:
            await over.wait()
            return
        shortest, longest = _LOOK_S
        pause = shortest
        while True:
            last_look = over.is_set()
            if self._read_on():
                pause = shortest
                await asyncio.sleep(0)
                continue
            if last_look:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), pause)
            pause = min(pause * 1.5, longest)
        if self._rest:
            self._sink(self._rest, self._offset + len(self._rest), None)
        self._file.close()

    def _read_on(self) -> bool:
        if self._file is None:
            return False
        self._file.seek(self._offset + len(self._rest))
        chunk = self._file.read(_CHUNK)
        if not chunk:
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._offset += len(line) + 1
            self._sink(line, self._offset, None)
        if len(self._rest) > _LONGEST_LINE:
            self._offset += len(self._rest)
            self._sink(self._rest, self._offset, None)
            self._rest = b""
        return True
