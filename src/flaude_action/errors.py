"""The tree of everything that can go wrong, by who meets it.

    FlaudeError
    ├── ConfigError            bad input, told before money is spent
    ├── FlyAPIError            the Machines API or the logs host refused or broke
    ├── ImageError             the machine's image is missing, foreign or unusable
    │   └── ImageBuildError
    ├── GuestError             the machine booted but our guest did not answer rightly
    ├── MachineExitError       the run ended and its verdict is failure
    │   └── AgentError         the machine did its part, Claude Code or the model did not
    ├── MachineTimeout         also a TimeoutError: our deadline passed
    ├── RunCancelled           we were told to stop
    └── InternalError          a bug of ours

Each carries a stable `type` whose wording, hint and phase live in `catalog`. `message` and `details` may be
shown to anyone: fixed wording and our own numbers only, never log lines or model text. `dev` is for the job
log under step debug. The cause stays on `__cause__` and never leaves the process.
"""

from __future__ import annotations

import secrets
from typing import Any

from flaude_action.catalog import CATALOG, Kind, Phase, Retryable

__all__ = [
    "AgentError",
    "ConfigError",
    "FlaudeError",
    "FlyAPIError",
    "GuestError",
    "ImageBuildError",
    "ImageError",
    "InternalError",
    "MachineExitError",
    "MachineTimeout",
    "RunCancelled",
]

LOG_TAIL_LINES = 20


class FlaudeError(Exception):
    """Anything this package raises on purpose.

    `type` must be in the catalog; `message`, `hint` and `phase` default to the catalog's. `ref` is a short
    random id printed wherever the error is shown, so that a summary and a log line can be joined.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the public name of the field in every JSON form (DESIGN: errors)
        message: str = "",
        *,
        details: str = "",
        dev: str = "",
        hint: str = "",
        phase: Phase | None = None,
        retryable: Retryable | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        kind: Kind = CATALOG[type]
        self.type = type
        self.message = message or kind.message
        self.details = details
        self.dev = dev
        self.hint = hint or kind.hint
        self.phase: Phase = phase or kind.phase
        self.retryable: Retryable = retryable or kind.retryable
        self.meta = dict(meta or {})
        self.ref = "err_" + secrets.token_hex(4)
        super().__init__(f"{self.message} {self.details}".strip())

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and sent to other processes as it is, `ref` included, not made anew from its text."""
        return _as_it_was, (type(self), self.args), self.__dict__

    def as_json(self, *, debug: bool = False) -> dict[str, Any]:
        """`{type, message, details, hint, phase, retryable, meta, ref}`, plus `dev` under step debug."""
        record: dict[str, Any] = {
            "type": self.type,
            "message": self.message,
            "details": self.details,
            "hint": self.hint,
            "phase": self.phase,
            "retryable": self.retryable,
            "meta": self.meta,
            "ref": self.ref,
        }
        if debug and self.dev:
            record["dev"] = self.dev
        return record


def _as_it_was(cls: type[FlaudeError], args: tuple[Any, ...]) -> FlaudeError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ConfigError(FlaudeError):
    """One problem with what the user gave us; `problems` holds the others found in the same pass."""

    def __init__(self, type: str, message: str = "", **fields: Any) -> None:  # noqa: A002
        super().__init__(type, message, **fields)
        self.problems: list[ConfigError] = [self]

    @classmethod
    def of(cls, problems: list[ConfigError]) -> ConfigError:
        """The first problem, carrying all of them in the order found."""
        first = problems[0]
        first.problems = list(problems)
        return first


class FlyAPIError(FlaudeError):
    """Fly answered with an error, or did not answer.

    `status_code` is 0 when there was no HTTP answer at all; `detail` is the server's own text (untrusted,
    for the job log); `fly_status` the machine-readable `status` member (`insufficient_capacity`, ...).
    """

    def __init__(
        self,
        status_code: int,
        detail: str,
        request_id: str = "",
        method: str = "",
        path: str = "",
        *,
        type: str = "machine_api_unavailable",  # noqa: A002
        fly_status: str = "",
        retry_after: float | None = None,
        **fields: Any,
    ) -> None:
        self.status_code = status_code
        self.detail = detail
        self.request_id = request_id
        self.method = method
        self.path = path
        self.fly_status = fly_status
        self.retry_after = retry_after
        answer = f"Fly said HTTP {status_code}" if status_code else "Fly gave no answer"
        where = f"{method} {path}".strip()
        if request_id:
            fields.setdefault("meta", {})["fly_request_id"] = request_id
        fields.setdefault("details", f"{answer} to {where}." if where else f"{answer}.")
        fields.setdefault("dev", detail)
        super().__init__(type, **fields)

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{super().__str__()}{request}: {self.detail}"


class ImageError(FlaudeError):
    """The machine's image cannot be used."""


class ImageBuildError(ImageError):
    """A build failed: `returncode` of the failing command (1, as docker's own, where no command failed).

    `stderr` is the last lines of the build's log, untrusted.
    """

    def __init__(self, returncode: int, stderr: str, **fields: Any) -> None:
        self.returncode = returncode
        self.stderr = stderr
        super().__init__("image_build_failed", dev=stderr, meta={"returncode": returncode}, **fields)


class GuestError(FlaudeError):
    """Our guest refused, broke the protocol, or never came up."""


class MachineExitError(FlaudeError):
    """The run ended and it failed. The text ends with the last 20 log lines, so it belongs in a job log.

    Attributes `machine_id`, `exit_code`, `state` and `logs` are flaude's.
    """

    def __init__(
        self,
        machine_id: str,
        exit_code: int | None,
        state: str,
        logs: list[str] | None = None,
        *,
        type: str = "outcome_unknown",  # noqa: A002
        **fields: Any,
    ) -> None:
        self.machine_id = machine_id
        self.exit_code = exit_code
        self.state = state
        self.logs = list(logs or [])
        super().__init__(type, **fields)

    def __str__(self) -> str:
        told = f"{self.message} {self.details}".strip()
        head = f"{told} (machine {self.machine_id}, exit code {self.exit_code}, state {self.state})"
        if not self.logs:
            return head
        tail = self.logs[-LOG_TAIL_LINES:]
        return "\n".join([head, f"Last {len(tail)} of {len(self.logs)} log lines:", *tail])


class AgentError(MachineExitError):
    """Claude Code or the model failed; the guest's document says how."""


class MachineTimeout(FlaudeError, TimeoutError):
    """A deadline of ours passed: the run's own, the boot's, or the agent's silence."""


class RunCancelled(FlaudeError):
    """A signal, or the caller, told us to stop. Never used for a deadline."""


class InternalError(FlaudeError):
    """A bug of ours: fixed wording outside, everything in the job log."""

    def __init__(self, **fields: Any) -> None:
        super().__init__("internal_error", **fields)
