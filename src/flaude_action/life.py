"""What is learned of one run while it lasts, and what it adds up to: the evidence, then the outcome.

Learning it is `execution`'s; what it means is `verdict`'s.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flaude_action import DEFAULT_IMAGE
from flaude_action.errors import GuestError
from flaude_action.evidence import Evidence, OwnStop
from flaude_action.log_witness import LogWitness
from flaude_action.machine_config import guest_of
from flaude_action.outcome import Outcome
from flaude_action.patch_secrets import files_with_secrets
from flaude_action.redaction import MASK
from flaude_action.waiting import Deadline
from flaude_guest.protocol import IMAGE_LABEL, PHASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flaude_action.errors import FlaudeError, FlyAPIError
    from flaude_action.guest_work import GuestWork
    from flaude_action.logs import LogFollower
    from flaude_action.machine import End, Machine
    from flaude_action.machine_config import MachineConfig
    from flaude_action.machine_history import History
    from flaude_action.verdict import Verdict
    from flaude_action.waiting import Cancellation


SEARCH_S, SEARCH_HURRIED_S = 120.0, 1.0
"""How long a change may be searched for credentials, and for how much longer after a cancel."""


class ImageIsForeign(Exception):
    """The image turned out to have no guest of ours: it must be told its job by its environment."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.id)
        self.machine = machine


class Clock:
    """Seconds by phase, and how long the machine was seen to run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.ran_s: float | None = None
        self._started_at: float | None = None

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = round(time.monotonic() - began, 3)

    def machine_started(self) -> None:
        self._started_at = time.monotonic()

    def machine_destroyed(self) -> None:
        if self._started_at is not None:
            self.ran_s = round(time.monotonic() - self._started_at, 3)

    def phases(self, guest_times: dict[str, list[float | None]]) -> dict[str, float]:
        """Seconds by phase, ours and the guest's, in the order they happened."""
        before = {name: self.seconds[name] for name in ("create", "boot") if name in self.seconds}
        after = {name: self.seconds[name] for name in ("destroy", "logs") if name in self.seconds}
        guests = {
            name: round(end - start, 3)
            for name, (start, end) in guest_times.items()
            if name in PHASES and name != "waiting" and start is not None and end is not None
        }
        return before | dict(sorted(guests.items(), key=lambda phase: PHASES.index(phase[0]))) | after


@dataclass
class Life:
    """One machine's run in progress."""

    machine: Machine
    logs: LogFollower
    config: MachineConfig
    clock: Clock
    ours: bool
    witness: LogWitness = field(default_factory=LogWitness)
    work: GuestWork | None = None
    end: End | None = None
    own_stop: OwnStop | None = None
    trouble: FlaudeError | None = None
    secret_in: tuple[str, ...] = ()
    searched: bool = False

    @property
    def result(self) -> dict[str, Any] | None:
        """The guest's document, once there is one."""
        return self.work.result if self.work is not None else None

    def recognised(self) -> bool:
        """Whether to go on, having learned whether our guest is in the image: the caller says so, it is the
        default, or its label says so. Raises ImageIsForeign when the job must be told otherwise."""
        if not self.ours or self.config.guest == "flaude" or self.config.image == DEFAULT_IMAGE:
            return True
        try:
            if guest_of(self.machine.record.image_ref.labels.get(IMAGE_LABEL)) == "foreign":
                raise ImageIsForeign(self.machine)
        except GuestError as error:
            self.trouble = error
        return self.trouble is None

    @property
    def files(self) -> dict[str, Path]:
        """The guest's files that came whole, by name."""
        return dict(self.work.files) if self.work is not None else {}

    @property
    def claims_success(self) -> bool:
        """Whether the guest's document says that all went well."""
        return self.result is not None and self.result.get("ok") is True

    async def search(self, holds_secret: Callable[[str], bool], cancellation: Cancellation) -> None:
        """Look for credentials in the change, once, in a thread, because there may be much of it.

        A patch that has one, or that cannot be searched in time, is none of our files any more.
        """
        patch = self.files.get("patch")
        if self.work is None or patch is None or self.searched:
            return
        self.searched, limit = True, Deadline.after(SEARCH_S)

        def holds(text: str) -> bool:
            nonlocal limit
            if cancellation.requested and limit.seconds > SEARCH_HURRIED_S:
                limit = Deadline.after(SEARCH_HURRIED_S)
            if limit.passed:
                raise ValueError("there is no more time for this")
            return holds_secret(text)

        try:
            found = await asyncio.to_thread(files_with_secrets, patch, holds)
        except (OSError, ValueError):
            self.work.problems.append("The patch could not be searched for credentials.")
        else:
            self.secret_in = tuple(MASK if holds_secret(name) else name for name in found)
            if not found:
                return
        del self.work.files["patch"]

    @property
    def unreachable(self) -> FlyAPIError | None:
        """What keeps Fly from answering now; None when it does."""
        return (self.work.unreachable if self.work is not None else None) or self.machine.unreachable

    def stopped_by_us(self, stop: OwnStop) -> None:
        """We end the run. A time limit that passes while Fly does not answer says nothing of the run."""
        if stop.type != "cancelled" and self.unreachable is not None:
            self.trouble = self.unreachable
        else:
            self.own_stop = stop

    @property
    def needs_history(self) -> bool:
        """Whether Fly's events can matter for the verdict: asking for them takes time."""
        return self.own_stop is None and (self.result is None or self.end is not None)

    def evidence(self, told: History) -> Evidence:
        """What is known without the log; `told` is what Fly's events say."""
        work, end = self.work, self.end
        return Evidence(
            ours=self.ours,
            result=self.result,
            result_tampered=bool(work and work.status and work.status.tampered),
            provisioned=work is not None and work.provisioned,
            has_delivery=bool(self.config.repos),
            exit=told.exit,
            never_started=told.never_started,
            state=end.state if end is not None else "",
            gone=end is not None and end.gone,
            own_stop=self._own_stop_by_its_clock(),
            trouble=self.trouble.type if self.trouble is not None else "",
            work_lost=work is not None and work.lost,
            secret_in_changes=bool(self.secret_in),
        )

    def with_log(self, evidence: Evidence) -> Evidence:
        """The log's word added, once it has been read to its end."""
        return replace(
            evidence,
            marker=self.witness.marker,
            marker_is_last=self.witness.marker_is_last,
            platform_code=self.witness.platform_code,
            log_complete=self.logs.complete,
        )

    def outcome(self, evidence: Evidence, verdict: Verdict) -> Outcome:
        record, work = self.machine.record, self.work
        return Outcome(
            verdict=verdict,
            evidence=evidence,
            machine_id=record.id,
            region=record.region,
            image=str(record.config.get("image", self.config.image)),
            cleanup=self.machine.cleanup,
            log_refused=self.logs.refused,
            trouble=self.trouble,
            problems=tuple(work.problems) if work is not None else (),
            files=self.files,
            secret_in=self.secret_in,
            machine_seconds=self.clock.ran_s,
            phase_seconds=self.clock.phases(work.status.times if work is not None and work.status else {}),
        )

    def _own_stop_by_its_clock(self) -> OwnStop | None:
        """When we decided to stop, in the machine's time: its results are told in that."""
        behind = self.work.clock_behind_s if self.work is not None else None
        if self.own_stop is None or behind is None:
            return self.own_stop
        return replace(self.own_stop, at=self.own_stop.at - behind)
