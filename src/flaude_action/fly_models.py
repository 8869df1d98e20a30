"""What Fly answers, as frozen dataclasses that parse leniently and never raise.

Anything may be missing or of a wrong type: a text becomes "", a number None, a flag False. A machine's
history is `fly_events`; which answer is an error is `fly_errors`'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flaude_action.fly_events import parse_events
from flaude_action.fly_fields import mapping, number, signal, text, texts

if TYPE_CHECKING:
    from flaude_action.fly_events import Event


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
        it = mapping(raw)
        return cls(
            registry=text(it.get("registry")),
            repository=text(it.get("repository")),
            tag=text(it.get("tag")),
            digest=text(it.get("digest")),
            labels=texts(it.get("labels")),
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
        it = mapping(raw)
        config = mapping(it.get("config"))
        return cls(
            id=text(it.get("id")),
            name=text(it.get("name")),
            state=text(it.get("state")),
            region=text(it.get("region")),
            instance_id=text(it.get("instance_id")) or text(it.get("version")),
            image_ref=ImageRef.parse(it.get("image_ref")),
            config=config,
            metadata=texts((config or mapping(it.get("incomplete_config"))).get("metadata")),
            events=parse_events(it.get("events")),
            created_at=text(it.get("created_at")),
            host_status=text(it.get("host_status")),
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
        it = mapping(raw)
        return cls(
            id=text(it.get("id")),
            name=text(it.get("name")),
            status=text(it.get("status")),
            organization=text(mapping(it.get("organization")).get("slug")),
            network=text(it.get("network")),
        )


@dataclass(frozen=True)
class WaitAnswer:
    """The state a wait ended with ("" when Fly only said ok) and the event that caused it."""

    state: str
    version: str
    event_id: str

    @classmethod
    def parse(cls, raw: object) -> WaitAnswer:
        it = mapping(raw)
        return cls(text(it.get("state")), text(it.get("version")), text(it.get("event_id")))


@dataclass(frozen=True)
class ExecResult:
    """What a command on the machine said. An absent exit code is 0; one of a wrong type is None."""

    stdout: str
    stderr: str
    exit_code: int | None
    exit_signal: int | None

    @classmethod
    def parse(cls, raw: object) -> ExecResult:
        it = mapping(raw)
        return cls(
            stdout=text(it.get("stdout")),
            stderr=text(it.get("stderr")),
            exit_code=number(it.get("exit_code", 0)),
            exit_signal=signal(it.get("exit_signal")),
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
        it = mapping(raw)
        entries = it.get("data")
        token = mapping(it.get("meta")).get("next_token")
        if isinstance(token, int) and not isinstance(token, bool):
            token = str(token)
        return cls(entries if isinstance(entries, list) else [], text(token))
