"""All that is known of one run when it is over: what the verdict weighs, as it was told.

Each part may be missing or odd; what that means for the run is `verdict`'s. Who gathers it is `life`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_DECIDING = {"exit_code", "oom_killed", "requested_stop", "signal", "guest_signal"}
_FAR_FUTURE = 4102444800  # the year 2100


@dataclass(frozen=True)
class ExitEvent:
    """The newest exit of this launch, as Fly told it. None means that the key was absent.

    `unknown_keys` are members that no recorded payload has, or that have another type of value; with one of
    them present an absent `exit_code` is not read as 0, and even a spelled one is not when the member could
    have told of an end by force. `guest_exit_code` is the VM's side and never the job's result: it only keeps
    an absent code from being read as 0. https://fly.io/docs/machines/api/machines-resource/
    """

    type: str = "exit"
    exit_code: int | None = None
    signal: int | None = None
    guest_signal: int | None = None
    oom_killed: bool | None = None
    requested_stop: bool | None = None
    error: str = ""
    guest_exit_code: int | None = None
    unknown_keys: tuple[str, ...] = ()

    @property
    def fatal_signal(self) -> int | None:
        """The signal that ended the workload; -1 and 0 mean none."""
        for number in (self.signal, self.guest_signal):
            if number is not None and number > 0:
                return number
        return None

    @property
    def code(self) -> int | None:
        """The exit code, with Fly's omitted zero read back; None when the event does not tell."""
        if self.exit_code:
            return self.exit_code if self.exit_code > 0 else None
        if self.exit_code == 0:
            return None if _DECIDING.intersection(self.unknown_keys) else 0
        told = self.oom_killed or self.fatal_signal or self.error or self.guest_exit_code or self.unknown_keys
        return 0 if self.type == "exit" and not told else None


@dataclass(frozen=True)
class OwnStop:
    """A decision of ours, recorded before the first signal went out. `at` is in epoch seconds, by the clock
    that the guest's times are told by: the machine's."""

    type: str
    at: float
    details: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that is known of one run.

    `result` is only set when its digest was right; `provisioned` says that our guest had taken the job,
    `never_started` that Fly's events tell of no start, `has_delivery` that a run which went well may owe us a
    patch. `trouble` is the catalog id of what kept us from learning more, `work_lost` that the agent changed
    files and not all word of it reached us, `secret_in_changes` that a credential stands in what it changed.
    """

    ours: bool
    result: dict[str, Any] | None = None
    result_tampered: bool = False
    provisioned: bool = False
    exit: ExitEvent | None = None
    never_started: bool = False
    state: str = ""
    gone: bool = False
    marker: int | None = None
    marker_is_last: bool = False
    log_complete: bool = False
    platform_code: int | None = None
    own_stop: OwnStop | None = None
    has_delivery: bool = False
    trouble: str = ""
    work_lost: bool = False
    secret_in_changes: bool = False


def moment(told: object) -> float | None:
    """Seconds since 1970, when it is a time that a clock of this century can show."""
    if not isinstance(told, int | float) or isinstance(told, bool) or not 0 < told < _FAR_FUTURE:
        return None
    return float(told)
