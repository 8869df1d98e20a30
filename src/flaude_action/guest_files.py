"""The guest's files, fetched over its link: in as few execs as Fly carries, each part and each file checked.

What is asked for in one exec may hold parts of several files. A part that does not come, or comes wrong, is
asked for again. Which files there are is `guest_work`'s, how much one answer carries `chunk`'s.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flaude_action.chunk import ENVELOPE_BYTES, Chunk
from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.guest_link import GarbledAnswer, wait_out, waits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flaude_action.guest_link import GuestLink
    from flaude_action.waiting import Patience

log = logging.getLogger(__name__)

WRONG_ANSWERS: Final = 5
"""So many in a row that hold nothing of what was asked for are believed."""
WRONG_PAUSE_S: Final = 0.25
_TOO_LARGE: Final = 413


@dataclass(frozen=True)
class Part:
    """A part of one of the guest's files."""

    name: str
    offset: int
    length: int


@dataclass
class Coming:
    """One file on its way to `path`: what the result says of it, and how much of it is here.

    `done` once it has come whole; `failed` says why it never will.
    """

    name: str
    size: int
    sha256: str
    path: Path
    here: int = 0
    done: bool = False
    failed: GuestError | OSError | None = None
    _again: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        self._partial = self.path.with_name(self.path.name + ".part")
        self._seen = hashlib.sha256()

    @property
    def left(self) -> int:
        """Bytes to ask for."""
        return 0 if self.done or self.failed else self.size - self.here

    def take(self, data: bytes) -> None:
        """The next bytes; with the last ones the whole file is checked, and begun anew once."""
        try:
            with self._partial.open("ab" if self.here else "wb") as file:
                file.write(data)
            self.here += len(data)
            self._seen.update(data)
            if self.here < self.size:
                return
            if self._seen.hexdigest() == self.sha256:
                self._partial.rename(self.path)
                self.done = True
                return
        except OSError as error:
            self.failed = error
            return
        if self._again:
            self.failed = GuestError("collect_failed", details=f"{self.name!r} did not arrive whole.")
        self.here, self._seen, self._again = 0, hashlib.sha256(), True


class GuestFiles:
    """Fetches from one guest. The size of a chunk that was found to come whole is kept."""

    def __init__(self, link: GuestLink) -> None:
        self._link = link
        self._chunk = Chunk()
        self._wrong = self._failed = 0

    async def fetch(self, files: Sequence[Coming], patience: Patience) -> None:
        """Until each is `done` or `failed`. Trouble at Fly that may pass is waited out.

        Raises FlyAPIError when patience ends or Fly refuses, GuestError when all answers are wrong.
        """
        for empty in (file for file in files if file.size == 0 and not file.done):
            empty.take(b"")
        while parts := self._next_parts(files):
            asked = sum(part.length for part in parts)
            try:
                answers = await self._link.collect(*((part.name, part.offset, part.length) for part in parts))
            except FlyAPIError as error:
                if error.status_code == _TOO_LARGE and self._chunk.refused(asked):
                    continue
                self._chunk.lost(asked)
                if not waits(error):
                    await self._bear(error)
                    continue
                self._failed += 1
                await wait_out(error, patience)
            except GuestError as error:
                patience.answered()
                if not (isinstance(error, GarbledAnswer) and self._chunk.cut(asked, error.cut_at)):
                    await self._bear(error)
            else:
                patience.answered()
                # Fewer than were asked for: those are missing.
                await self._sort(files, parts, [*answers, *[None] * len(parts)][: len(parts)])

    def _next_parts(self, files: Sequence[Coming]) -> list[Part]:
        """In the files' order, as much as is thought to fit.

        After a failure of one file at a time, by turns: what is wrong with one keeps no other from coming.
        """
        wanted = [file for file in files if file.left]
        if self._failed and wanted:
            wanted = [wanted[(self._failed - 1) % len(wanted)]]
        room, parts = self._chunk.size(sum(file.left for file in wanted)), []
        for file in wanted:
            length = min(file.left, room)
            if length > 0:
                parts.append(Part(file.name, file.here, length))
                room -= length + ENVELOPE_BYTES
        return parts

    async def _sort(self, files: Sequence[Coming], parts: Sequence[Part], answers: Sequence[object]) -> None:
        """Each part that came right to its file."""
        named = {file.name: file for file in files}
        came = 0
        for part, answer in zip(parts, answers, strict=True):
            if (data := _bytes_of(answer, part)) is not None:
                named[part.name].take(data)
                came += 1
        if came == len(parts):
            self._chunk.came(sum(part.length for part in parts))
        if came:
            self._wrong = self._failed = 0
        else:
            await self._bear(GuestError("collect_failed", details="A part came with another content."))

    async def _bear(self, error: FlyAPIError | GuestError) -> None:
        """Pause before asking again; raises the error when it has been one of many."""
        self._wrong += 1
        self._failed += 1
        log.info("fetching the guest's files: %s", error)
        if self._wrong >= WRONG_ANSWERS:
            raise error
        await asyncio.sleep(WRONG_PAUSE_S)


def _bytes_of(answer: object, part: Part) -> bytes | None:
    """The part's bytes, when they are its own and whole."""
    if not isinstance(answer, dict) or (answer.get("name"), answer.get("offset")) != (part.name, part.offset):
        return None
    try:
        data = base64.b64decode(str(answer.get("data", "")), validate=True)
    except ValueError:
        return None
    whole = len(data) == part.length and hashlib.sha256(data).hexdigest() == answer.get("sha256")
    return data if whole else None
