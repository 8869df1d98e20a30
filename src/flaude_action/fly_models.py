"""What Fly answers, as frozen dataclasses that parse leniently and never raise.

Anything may be missing or of a wrong type: a text becomes "", a number None, a flag False. What an exit
means is `verdict`'s; which answer is an error is `fly_errors`'.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Nesting = Literal["exit_event", "MonitorEvent"]

_EXIT_NUMBERS = ("exit_code", "guest_exit_code", "guest_signal", "signal")
_EXIT_FLAGS = ("oom_killed", "requested_stop", "restarting")
_EXIT_TEXTS = ("error", "guest_error")


@dataclass(frozen=True)
class ImageRef:
    """Which image a machine runs, as Fly resolved it; `labels` are the image's own."""

    registry: str
    repository: str
    tag: str
    digest: str
    labels: dict[str, str]

    @classmethod
    def parse(cls, raw: object) -> ImageRef:
        it = _mapping(raw)
        return cls(
            registry=_text(it.get("registry")),
            repository=_text(it.get("repository")),
            tag=_text(it.get("tag")),
            digest=_text(it.get("digest")),
            labels=_texts(it.get("labels")),
        )


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
            exit_code=_number(raw.get("exit_code")),
            guest_exit_code=_number(raw.get("guest_exit_code")),
            guest_signal=_signal(raw.get("guest_signal")),
            signal=_signal(raw.get("signal")),
            oom_killed=raw.get("oom_killed") is True,
            requested_stop=raw.get("requested_stop") is True,
            restarting=raw.get("restarting") is True,
            error=_text(raw.get("error")),
            guest_error=_text(raw.get("guest_error")),
            exited_at=_moment(raw.get("exited_at")),
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
        it = _mapping(raw)
        request = _mapping(it.get("request"))
        return cls(
            id=_text(it.get("id")),
            type=_text(it.get("type")),
            status=_text(it.get("status")),
            source=_text(it.get("source")),
            timestamp=_number(it.get("timestamp")),
            request=request,
            exit=_exit_of(request),
        )


@dataclass(frozen=True)
class Machine:
    """One machine. `instance_id` is the version that `wait` takes; `events` are the five newest at most.

    `config` is empty when Fly could not read it (`host_status` not "ok"); `metadata` then comes from what it
    could read.
    """

    id: str
    name: str
    state: str
    region: str
    instance_id: str
    image_ref: ImageRef
    config: dict[str, Any]
    metadata: dict[str, str]
    events: tuple[Event, ...]
    created_at: str
    host_status: str

    @classmethod
    def parse(cls, raw: object) -> Machine:
        it = _mapping(raw)
        config = _mapping(it.get("config"))
        return cls(
            id=_text(it.get("id")),
            name=_text(it.get("name")),
            state=_text(it.get("state")),
            region=_text(it.get("region")),
            instance_id=_text(it.get("instance_id")) or _text(it.get("version")),
            image_ref=ImageRef.parse(it.get("image_ref")),
            config=config,
            metadata=_texts((config or _mapping(it.get("incomplete_config"))).get("metadata")),
            events=parse_events(it.get("events")),
            created_at=_text(it.get("created_at")),
            host_status=_text(it.get("host_status")),
        )


@dataclass(frozen=True)
class App:
    id: str
    name: str
    status: str
    organization: str
    network: str

    @classmethod
    def parse(cls, raw: object) -> App:
        it = _mapping(raw)
        return cls(
            id=_text(it.get("id")),
            name=_text(it.get("name")),
            status=_text(it.get("status")),
            organization=_text(_mapping(it.get("organization")).get("slug")),
            network=_text(it.get("network")),
        )


@dataclass(frozen=True)
class WaitAnswer:
    """The state a wait ended with ("" when Fly only said ok) and the event that caused it."""

    state: str
    version: str
    event_id: str

    @classmethod
    def parse(cls, raw: object) -> WaitAnswer:
        it = _mapping(raw)
        return cls(_text(it.get("state")), _text(it.get("version")), _text(it.get("event_id")))


@dataclass(frozen=True)
class ExecResult:
    """What a command on the machine said. An absent exit code is 0; one of a wrong type is None."""

    stdout: str
    stderr: str
    exit_code: int | None
    exit_signal: int | None

    @classmethod
    def parse(cls, raw: object) -> ExecResult:
        it = _mapping(raw)
        return cls(
            stdout=_text(it.get("stdout")),
            stderr=_text(it.get("stderr")),
            exit_code=_number(it.get("exit_code", 0)),
            exit_signal=_signal(it.get("exit_signal")),
        )


@dataclass(frozen=True)
class Region:
    code: str
    name: str
    deprecated: bool
    requires_paid_plan: bool

    @classmethod
    def parse(cls, raw: object) -> Region:
        it = _mapping(raw)
        return cls(
            code=_text(it.get("code")),
            name=_text(it.get("name")),
            deprecated=it.get("deprecated") is True,
            requires_paid_plan=it.get("requires_paid_plan") is True,
        )


@dataclass(frozen=True)
class LogsPage:
    """One page of the logs host, entries as sent and oldest first.

    `next_token` is opaque: a nanosecond time beyond 2^53, kept as text however it was sent.
    """

    entries: list[Any]
    next_token: str

    @classmethod
    def parse(cls, raw: object) -> LogsPage:
        it = _mapping(raw)
        entries = it.get("data")
        token = _mapping(it.get("meta")).get("next_token")
        if isinstance(token, int) and not isinstance(token, bool):
            token = str(token)
        return cls(entries if isinstance(entries, list) else [], _text(token))


def parse_events(raw: object) -> tuple[Event, ...]:
    """Events in the order sent (Fly: newest first); entries that are no objects are left out."""
    return tuple(Event.parse(one) for one in raw if isinstance(one, dict)) if isinstance(raw, list) else ()


def _exit_of(request: dict[str, Any]) -> ExitEvent | None:
    # flyctl reads MonitorEvent first, too (fly-go, GetExitCode).
    nested = _mapping(request.get("MonitorEvent")).get("exit_event")
    if isinstance(nested, dict):
        return ExitEvent.parse(nested, "MonitorEvent")
    direct = request.get("exit_event")
    return ExitEvent.parse(direct, "exit_event") if isinstance(direct, dict) else None


def _exit_member_known(key: str, value: object) -> bool:
    if key in _EXIT_NUMBERS:
        return _number(value) is not None
    if key in _EXIT_FLAGS:
        return isinstance(value, bool)
    if key in _EXIT_TEXTS:
        return isinstance(value, str)
    return key == "exited_at" and _moment(value) is not None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> dict[str, str]:
    return {key: one for key, one in _mapping(value).items() if isinstance(one, str)}


def _number(value: object) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if fits and isinstance(value, int) else None


def _signal(value: object) -> int | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _moment(value: object) -> float | None:
    """Milliseconds (2022) or RFC 3339 with up to nanoseconds (since), as epoch seconds."""
    if (number := _number(value)) is not None:
        return number / 1000
    try:
        moment = datetime.fromisoformat(_text(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
