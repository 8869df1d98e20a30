"""The guest's side of one run, driven over its link: hand over the job, wait for the result, fetch the files.

Whether the machine still lives, and when to stop waiting, is `execution`'s.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.guest_files import Coming, GuestFiles
from flaude_action.guest_link import ANSWER_MARKS_MAX, GarbledAnswer, waits
from flaude_action.json_document import json_of
from flaude_action.waiting import Deadline, Patience
from flaude_guest.protocol import PHASES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from flaude_action.guest_link import GuestLink, Status

log = logging.getLogger(__name__)

FILES = {"patch": "changes.patch", "changeset": "changeset.json", "transcript": "transcript.jsonl"}
"""The guest's files in the order of their worth, and their names in the run's folder."""
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_RESULT_BYTES = 8 * 1024 * 1024
RETRY_PAUSE_S = 0.5
OUTAGE_S = 180.0
"""The longest that Fly may be out of reach when the work is, or must be, over; the guest holds it longer."""
STATUS_TROUBLES, GUEST_TROUBLES = 20, 3
"""How often in a row Fly may refuse a status call, or the guest answer wrongly, before we believe it."""


class GuestWork:
    """One job on one guest. `status` is the newest known, `files` what has been fetched whole.

    Trouble at Fly that may pass is waited out with `patience`: the guest works on meanwhile, and holds its
    result.
    """

    def __init__(
        self,
        link: GuestLink,
        job: dict[str, Any],
        folder: Path,
        on_phase: Callable[[str], None],
        patience: Patience | None = None,
    ) -> None:
        self._link, self._job, self._folder, self._on_phase = link, job, folder, on_phase
        self._patience = patience or Patience()
        self._files = GuestFiles(link)
        self._coming: dict[str, Coming] = {}
        self._told: set[str] = set()
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
    def _over(self) -> bool:
        """Whether the guest has told of its result, here or not, genuine or not."""
        told = self.status
        return told is not None and (told.result is not None or told.tampered or told.result_bytes != 0)

    @property
    def unreachable(self) -> FlyAPIError | None:
        """What is being waited out now; None when Fly answers."""
        return self._patience.trouble

    @property
    def lost(self) -> bool:
        """True when the result tells of changes, and patch and list of them did not both reach us whole."""
        changeset = (self.result or {}).get("changeset")
        changed = isinstance(changeset, dict) and bool(changeset.get("files"))
        return changed and not self.files.keys() >= {"patch", "changeset"}

    @property
    def _timeout_s(self) -> float:
        """How long the guest may work on its job."""
        limits: dict[str, float] = self._job.get("limits", {})
        return limits.get("timeout_s", math.inf)

    async def run(self) -> None:
        """Everything up to the guest's release. Raises FlyAPIError or GuestError when it cannot go on."""
        self._see(await self._link.ready())
        await self._link.provision(self._job)
        self.provisioned = True
        in_all = self._patience.deadline
        self._patience.end_after(self._timeout_s + OUTAGE_S)
        await self._until_result()
        self._patience.deadline, self._patience.most_s = in_all, OUTAGE_S
        await self._fetch_result()
        await self.collect(FILES)
        await self._release()

    async def interrupt(self, seconds: float) -> None:
        """Stop the agent, keep what it has done so far. Never raises; ends within `seconds`."""
        deadline = Deadline.after(seconds)
        self._patience = Patience(deadline, quiet=True)
        try:
            async with asyncio.timeout(seconds):
                if not self._over:
                    self._see(await self._link.interrupt(deadline))
                await self._fetch_result()
                await self.collect(["patch", "changeset"])
        except (TimeoutError, FlyAPIError, GuestError) as error:
            self.problems.append(f"The interrupted run's files could not be fetched: {type(error).__name__}.")

    async def _until_result(self) -> None:
        troubles = 0
        while not self._over:
            after = self.status.seq if self.status is not None else -1
            try:
                self._see(await self._link.status(after))
                troubles = 0
                self._patience.answered()
            except (FlyAPIError, GuestError) as error:
                log.info("asking the guest for its status: %s", error)
                if isinstance(error, FlyAPIError) and waits(error):
                    await self._patience.wait_out(error)
                    continue
                self._patience.answered()
                troubles += 1
                if troubles >= (GUEST_TROUBLES if isinstance(error, GuestError) else STATUS_TROUBLES):
                    raise _met_later(error) from error
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _fetch_result(self) -> None:
        """One that was too large for a status comes as a file does.

        Goes on where an earlier call was broken off.
        """
        status = self.status
        if status is None or status.tampered or not status.result_bytes or self.result is not None:
            return
        path = self._folder / "result.json"
        told = Coming("result", status.result_bytes, status.result_sha256, path)
        coming = self._coming.setdefault("result", told)
        try:
            if status.result_bytes <= MAX_RESULT_BYTES:
                await self._files.fetch([coming], self._patience)
        except GuestError as error:
            details = "The guest's result could not be fetched whole."
            raise GuestError("collect_failed", details=details, dev=str(error)) from error
        if isinstance(coming.failed, OSError):
            raise GuestError("collect_failed", details="The result could not be written on the runner.")
        result = json_of(path.read_bytes(), marks=ANSWER_MARKS_MAX, fraction=float) if coming.done else None
        path.unlink(missing_ok=True)
        genuine = isinstance(result, dict)
        self.status = replace(status, result=result if genuine else None, tampered=not genuine)

    def _see(self, status: Status) -> None:
        """Raises GuestError when the guest waits for a job again: somebody restarted the machine."""
        if status.phase == "waiting" and self.status is not None and self.status.phase != "waiting":
            raise GuestError("machine_stopped_externally", details="It was started again without its job.")
        passed = [phase for phase in PHASES if phase in status.times or phase == status.phase]
        for phase in passed:
            if phase not in self._told:
                self._told.add(phase)
                self._on_phase(phase)
        self.status = status
        self._compare_clocks(status)

    def _compare_clocks(self, status: Status) -> None:
        """A status comes as soon as its phase has begun, so the newest time in it is about now, and
        never later: the smallest difference is the nearest to the truth, and errs in favour of a stop."""
        told = [moment for span in status.times.values() for moment in span if moment is not None]
        if told:
            behind = time.time() - max(told)
            self.clock_behind_s = min(behind, behind if self.clock_behind_s is None else self.clock_behind_s)

    async def collect(self, names: Collection[str]) -> None:
        """Fetch the named files that the result tells of, each checked by digest before it gets its name.

        Goes on where an earlier call was broken off.
        """
        told = (self.result or {}).get("files")
        told = told if isinstance(told, dict) else {}
        for name in names:
            if name not in self._coming and isinstance(facts := told.get(name), dict):
                self._expect(name, facts)
        wanted = [self._coming[name] for name in names if name in self._coming]
        try:
            await self._files.fetch(wanted, self._patience)
        except (FlyAPIError, GuestError) as error:
            log.info("fetching the guest's files: %s", error)
        finally:  # also when there is no more time for the rest
            self.files |= {file.name: file.path for file in wanted if file.done}
        for file in wanted:
            if not file.done:
                log.info("fetching %s: %s", file.name, file.failed or "it did not come")
                self.problems.append(f"The file {file.name!r} could not be fetched whole.")

    def _expect(self, name: str, facts: dict[str, Any]) -> None:
        """Note what the result says of a file; one that cannot be true, or is too large, is a problem."""
        size, sha256 = facts.get("size"), facts.get("sha256")
        if isinstance(size, int) and isinstance(sha256, str) and 0 <= size <= MAX_FILE_BYTES:
            self._coming[name] = Coming(name, size, sha256, self._folder / FILES[name])
        else:
            log.info("%s is larger than we take, or the result is odd", name)
            self.problems.append(f"The file {name!r} could not be fetched whole.")

    async def _release(self) -> None:
        """Let it go. A guest that cannot be told ends by itself after its hold."""
        try:
            await self._link.release()
        except (FlyAPIError, GuestError) as error:
            log.info("releasing the guest: %s", error)


def _met_later(error: FlyAPIError | GuestError) -> FlyAPIError | GuestError:
    """No answer means something else once the guest has answered before, and so does a part of one."""
    if isinstance(error, GarbledAnswer) and error.cut_at:
        details = f"Fly passes on {error.cut_at} characters of the guest's answers, and no more."
        return GuestError("collect_failed", details=details, dev=error.dev)
    return GuestError("guest_lost", dev=error.dev) if error.type == "boot_marker_missing" else error
