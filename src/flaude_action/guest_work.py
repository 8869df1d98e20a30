"""The guest's side of one run, driven over its link: hand over the job, wait for the result, fetch the files.

Whether the machine still lives, and when to stop waiting, is `execution`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.fly_errors import may_pass
from flaude_action.waiting import Deadline
from flaude_guest.protocol import PROVISION_WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from flaude_action.guest_link import GuestLink, Status

log = logging.getLogger(__name__)

FILES = {"patch": "changes.patch", "changeset": "changeset.json", "transcript": "transcript.jsonl"}
"""The guest's files in the order of their worth, and their names in the run's folder."""
MAX_FILE_BYTES = 64 * 1024 * 1024
RETRY_PAUSE_S = 0.5
STATUS_TROUBLES, GUEST_TROUBLES = 20, 3
"""How often in a row Fly may refuse a status call, or the guest answer wrongly, before we believe it."""
STATUS_PATIENCE_S = 60.0
"""How long Fly may fail to carry one. The guest works on meanwhile, and holds its result twice as long."""


class GuestWork:
    """One job on one guest. `status` is the newest known, `files` what has been fetched whole."""

    def __init__(
        self, link: GuestLink, job: dict[str, Any], folder: Path, on_phase: Callable[[str], None]
    ) -> None:
        self._link, self._job, self._folder, self._on_phase = link, job, folder, on_phase
        self.status: Status | None = None
        self.clock_behind_s: float | None = None
        """How far the machine's clock is behind ours at most; None before any answer told a time."""
        self.files: dict[str, Path] = {}
        self.problems: list[str] = []
        self.provisioned = False

    @property
    def result(self) -> dict[str, Any] | None:
        return self.status.result if self.status is not None else None

    @property
    def lost(self) -> bool:
        """True when the result tells of changes, and patch and list of them did not both reach us whole."""
        changeset = (self.result or {}).get("changeset")
        changed = isinstance(changeset, dict) and bool(changeset.get("files"))
        return changed and not self.files.keys() >= {"patch", "changeset"}

    async def run(self) -> None:
        """Everything up to the guest's release. Raises FlyAPIError or GuestError when it cannot go on."""
        deadline = Deadline.after(PROVISION_WINDOW_S)
        await self._link.ready(deadline)
        await self._link.provision(self._job, deadline)
        self.provisioned = True
        await self._until_result()
        await self.collect(FILES)
        await self._release()

    async def interrupt(self, seconds: float) -> None:
        """Stop the agent, keep what it has done so far. Never raises; ends within `seconds`."""
        deadline = Deadline.after(seconds)
        try:
            async with asyncio.timeout(seconds):
                self._see(await self._link.interrupt(deadline))
                await self.collect(["patch", "changeset"])
        except (TimeoutError, FlyAPIError, GuestError) as error:
            self.problems.append(f"The interrupted run's files could not be fetched: {type(error).__name__}.")

    async def _until_result(self) -> None:
        troubles, patience = 0, Deadline.after(STATUS_PATIENCE_S)
        while self.status is None or (self.result is None and not self.status.tampered):
            after = self.status.seq if self.status is not None else -1
            try:
                self._see(await self._link.status(after))
                troubles, patience = 0, Deadline.after(STATUS_PATIENCE_S)
            except (FlyAPIError, GuestError) as error:
                troubles += 1
                log.info("asking the guest for its status: %s", error)
                most = GUEST_TROUBLES if isinstance(error, GuestError) else STATUS_TROUBLES
                passes = isinstance(error, FlyAPIError) and may_pass(error)
                if patience.passed if passes else troubles >= most:
                    raise _met_later(error) from error
                await asyncio.sleep(RETRY_PAUSE_S)

    def _see(self, status: Status) -> None:
        """Raises GuestError when the guest waits for a job again: somebody restarted the machine."""
        if status.phase == "waiting" and self.status is not None and self.status.phase != "waiting":
            raise GuestError("machine_stopped_externally", details="It was started again without its job.")
        if self.status is None or status.phase != self.status.phase:
            self._on_phase(status.phase)
        self.status = status
        self._compare_clocks(status)

    def _compare_clocks(self, status: Status) -> None:
        """A status comes as soon as its phase has begun, so the newest time in it is about now, and
        never later: the smallest difference is the nearest to the truth, and errs in favour of a stop."""
        told = [moment for span in status.times.values() for moment in span if moment is not None]
        if told:
            behind = time.time() - max(told)
            self.clock_behind_s = min(behind, behind if self.clock_behind_s is None else self.clock_behind_s)

    async def collect(self, names: Iterable[str]) -> None:
        """Fetch the named files that the result tells of, each checked by digest before it gets its name."""
        told = (self.result or {}).get("files")
        told = told if isinstance(told, dict) else {}
        for name in names:
            facts = told.get(name)
            if not isinstance(facts, dict):
                continue
            try:
                self.files[name] = await self._fetch(name, facts)
            except (FlyAPIError, GuestError, OSError) as error:
                log.info("fetching %s: %s", name, error)
                self.problems.append(f"The file {name!r} could not be fetched whole.")

    async def _fetch(self, name: str, facts: dict[str, Any]) -> Path:
        size, sha256 = facts.get("size"), facts.get("sha256")
        if not isinstance(size, int) or not isinstance(sha256, str) or not 0 <= size <= MAX_FILE_BYTES:
            raise GuestError("collect_failed", details=f"The file {name!r} is larger than we take.")
        partial = self._folder / f"{FILES[name]}.part"
        with partial.open("wb") as file:
            async for data in self._link.collect(name, size, sha256):
                file.write(data)
        return partial.rename(self._folder / FILES[name])

    async def _release(self) -> None:
        """Let it go. A guest that cannot be told ends by itself after its hold."""
        try:
            await self._link.release()
        except (FlyAPIError, GuestError) as error:
            log.info("releasing the guest: %s", error)


def _met_later(error: FlyAPIError | GuestError) -> FlyAPIError | GuestError:
    """No answer means something else once the guest has answered before."""
    return GuestError("guest_lost", dev=error.dev) if error.type == "boot_marker_missing" else error
