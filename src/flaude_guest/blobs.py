"""Contents as git hands them out, of which only size and digest are kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Iterator


class Unreadable(Exception):
    """git does not have a content that it was asked for."""


@dataclass
class BlobStream:
    """Reads `git cat-file --batch` (`<oid> blob <size>`, content, newline), keeping only digests."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    _header: bytearray = field(default_factory=bytearray)
    _oid: str = ""
    _size: int = 0
    _left: int = -1
    _digest: Any = None

    def feed(self, data: bytes) -> None:
        for part in self._contents(memoryview(data)):
            self._digest.update(part)

    def _contents(self, data: memoryview) -> Iterator[memoryview]:
        while data:
            if self._left < 0:
                data = self._read_header(data)
                continue
            part, data = data[: self._left], data[self._left :]
            self._left -= len(part)
            yield part
            if self._left == 0 and data:
                self.found[self._oid] = {"sha256": self._digest.hexdigest(), "size": self._size}
                data = data[1:]
                self._left = -1

    def _read_header(self, data: memoryview) -> memoryview:
        head = bytes(data[:200])
        end = head.find(b"\n")
        self._header += head if end < 0 else head[:end]
        if end < 0:
            return data[len(head) :]
        self._oid, _, size = self._header.decode("ascii").rpartition(" blob ")
        self._header.clear()
        if not size.isdigit():
            raise Unreadable
        self._size = self._left = int(size)
        self._digest = hashlib.sha256()
        return data[end + 1 :]
