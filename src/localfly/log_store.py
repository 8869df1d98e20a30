"""The lines of machines, on disk, in the order of their times; memory stays flat however many there are.

One file per machine, one JSON array per line, and a sparse index (every 64th line) in memory. Paging, tokens
and who may read are in `logs_api`.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STRIDE = 64


@dataclass(frozen=True)
class Line:
    """`at_ns`: since the epoch; `cursor`: the workload's position after this line, 0 for platform lines."""

    at_ns: int
    message: str
    provider: str
    level: str
    cursor: int = 0


class LogFile:
    """The lines of one machine. Times never go backwards, and differ unless `step_ns` makes them coarser."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._index: list[tuple[int, int]] = []
        self._count = 0
        self._size = 0
        self._last_ns = 0
        self._lost = False
        self.cursor = 0
        if path.exists():
            self._read_back()

    def _read_back(self) -> None:
        """Rebuild the index; a line torn by a crash is cut off, its workload will tell it again."""
        with self._path.open("r+b") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    file.truncate(self._size)
                    break
                self._note(_decode(raw), len(raw))

    def _note(self, line: Line, size: int) -> None:
        if self._count % _STRIDE == 0:
            self._index.append((line.at_ns, self._size))
        self._count += 1
        self._size += size
        self._last_ns = line.at_ns
        self.cursor = max(self.cursor, line.cursor)

    def append(self, line: Line, step_ns: int = 1) -> None:
        if self._lost:
            return
        at_ns = line.at_ns - line.at_ns % step_ns
        at_ns = max(at_ns, self._last_ns + 1 if step_ns == 1 else self._last_ns)
        line = Line(at_ns, line.message, line.provider, line.level, line.cursor)
        raw = json.dumps([line.at_ns, line.message, line.provider, line.level, line.cursor]).encode() + b"\n"
        if self._file is None:
            self._file = self._path.open("ab")
        self._file.write(raw)
        self._note(line, len(raw))

    def lose(self, *, keep_told: bool) -> None:
        """Drop every further line, and those already there unless `keep_told`."""
        self._lost = True
        if not keep_told:
            self.close()
            self._path.write_bytes(b"")
            self._index, self._count, self._size = [], 0, 0

    def after(self, at_ns: int) -> Iterator[Line]:
        """Lines with a time greater than `at_ns`, oldest first."""
        start = max(bisect_right(self._index, (at_ns, -1)) - 1, 0)
        for line in self._from_block(start):
            if line.at_ns > at_ns:
                yield line

    def newest(self, limit: int, until_ns: int) -> list[Line]:
        """The last `limit` lines not later than `until_ns`, oldest first."""
        block = bisect_right(self._index, (until_ns, self._size)) - 1
        first = max(block - limit // _STRIDE - 1, 0)
        return [line for line in self._from_block(first) if line.at_ns <= until_ns][-limit:]

    def _from_block(self, block: int) -> Iterator[Line]:
        if block >= len(self._index):
            return
        self.flush()
        with self._path.open("rb") as file:
            file.seek(self._index[block][1])
            for raw in file:
                yield _decode(raw)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class LogStore:
    """All log files, opened when first asked for. In `directory` each machine has a folder of its name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, LogFile] = {}

    def of(self, machine_id: str) -> LogFile:
        if machine_id not in self._files:
            path = self._directory / machine_id / "log.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[machine_id] = LogFile(path)
        return self._files[machine_id]

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def now_ns() -> int:
    return time.time_ns()


def _decode(raw: bytes) -> Line:
    return Line(*json.loads(raw))
