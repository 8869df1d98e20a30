"""A machine's history as Fly tells it: events, and the exits in them, in every shape that was recorded.

What an exit means is `verdict`'s; the rest of what Fly answers is `fly_models`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flaude_action.fly_fields import mapping, moment, number, signal, text

Nesting = Literal["exit_event", "MonitorEvent"]

_EXIT_NUMBERS = ("exit_code", "guest_exit_code", "guest_signal", "signal")
_EXIT_FLAGS = ("oom_killed", "requested_stop", "restarting")
_EXIT_TEXTS = ("error", "guest_error")


@dataclass(frozen=True)
class ExitEvent:
    """The exit payload of an event.

    `exit_code` is None when the member is absent: Fly omits zeros, so what absence means depends on the rest
    (`keys`: every member's name as sent). `unknown_keys` are members we do not know, or know with another
    type of value. Signals are None when Fly says -1 or nothing; `exited_at` is in epoch seconds.
    """

    exit_code: int | None
    guest_exit_code: int | None
    guest_signal: int | None
    signal: int | None
    oom_killed: bool
    requested_stop: bool
    restarting: bool
    error: str
    guest_error: str
    exited_at: float | None
    nesting: Nesting
    keys: frozenset[str]
    unknown_keys: frozenset[str]

    @classmethod
    def parse(cls, raw: dict[str, Any], nesting: Nesting) -> ExitEvent:
        return cls(
            exit_code=number(raw.get("exit_code")),
            guest_exit_code=number(raw.get("guest_exit_code")),
            guest_signal=signal(raw.get("guest_signal")),
            signal=signal(raw.get("signal")),
            oom_killed=raw.get("oom_killed") is True,
            requested_stop=raw.get("requested_stop") is True,
            restarting=raw.get("restarting") is True,
            error=text(raw.get("error")),
            guest_error=text(raw.get("guest_error")),
            exited_at=moment(raw.get("exited_at")),
            nesting=nesting,
            keys=frozenset(raw),
            unknown_keys=frozenset(key for key, value in raw.items() if not _exit_member_known(key, value)),
        )


@dataclass(frozen=True)
class Event:
    """One entry of a machine's history: `timestamp` in epoch milliseconds, `request` as sent."""

    id: str
    type: str
    status: str
    source: str
    timestamp: int | None
    request: dict[str, Any]
    exit: ExitEvent | None

    @classmethod
    def parse(cls, raw: object) -> Event:
        it = mapping(raw)
        request = mapping(it.get("request"))
        return cls(
            id=text(it.get("id")),
            type=text(it.get("type")),
            status=text(it.get("status")),
            source=text(it.get("source")),
            timestamp=number(it.get("timestamp")),
            request=request,
            exit=_exit_of(request),
        )


def parse_events(raw: object) -> tuple[Event, ...]:
    """Events in the order sent (Fly: newest first); entries that are no objects are left out."""
    return tuple(Event.parse(one) for one in raw if isinstance(one, dict)) if isinstance(raw, list) else ()


def _exit_of(request: dict[str, Any]) -> ExitEvent | None:
    # flyctl reads MonitorEvent first, too (fly-go, GetExitCode).
    nested = mapping(request.get("MonitorEvent")).get("exit_event")
    if isinstance(nested, dict):
        return ExitEvent.parse(nested, "MonitorEvent")
    direct = request.get("exit_event")
    return ExitEvent.parse(direct, "exit_event") if isinstance(direct, dict) else None


def _exit_member_known(key: str, value: object) -> bool:
    if key in _EXIT_NUMBERS:
        return number(value) is not None
    if key in _EXIT_FLAGS:
        return isinstance(value, bool)
    if key in _EXIT_TEXTS:
        return isinstance(value, str)
    return key == "exited_at" and moment(value) is not None
