"""A machine as Fly remembers it: configuration, version, state, events. What runs it is in `flyd`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from localfly import identifiers

RESTING = frozenset({"started", "stopped", "suspended", "failed", "destroyed"})
"""What `wait?state=settled` waits for."""

DESTROYABLE = frozenset({"created", "stopped", "suspended", "failed"})
"""The states in which DELETE needs no force."""


@dataclass(frozen=True)
class Event:
    """One entry of a machine's history; `timestamp` in ms since the epoch, `request` as the API gives it."""

    id: str
    type: str
    status: str
    source: str
    timestamp: int
    request: dict[str, Any] | None = None


@dataclass
class Lease:
    nonce: str
    owner: str
    description: str
    expires_at: int

    def held(self) -> bool:
        return time.time() < self.expires_at


@dataclass
class Machine:
    """The record of one machine. `events` are newest first, as the API lists them.

    `workload` is the backend's own note by which a running workload is found again after a restart;
    `launch_due` is false for a machine that waits for its first start (`skip_launch`).
    `moves` are the states entered since this process began, for waiters; they are not kept.
    """

    id: str
    app: str
    name: str
    region: str
    config: dict[str, Any]
    image_ref: dict[str, Any]
    instance_id: str = field(default_factory=identifiers.ulid)
    private_ip: str = field(default_factory=identifiers.private_ip)
    state: str = "created"
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    destroyed_at: float | None = None
    events: list[Event] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    workload: dict[str, Any] | None = None
    restart_count: int = 0
    launch_due: bool = True
    lease: Lease | None = None
    vanished: bool = False
    moves: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.versions:
            self.versions = [{"version": self.instance_id, "user_config": self.config}]

    @property
    def metadata(self) -> dict[str, str]:
        return self.config.get("metadata") or {}

    @property
    def rank(self) -> tuple[float, str]:
        """Machines are listed in this order, and pages of them begin after one."""
        return self.created_at, self.id

    @property
    def gone(self) -> bool:
        return self.state == "destroyed"

    def add_event(
        self, kind: str, status: str, source: str = "flyd", request: dict[str, Any] | None = None
    ) -> Event:
        event = Event(identifiers.ulid(), kind, status, source, time.time_ns() // 1_000_000, request)
        self.events.insert(0, event)
        self.updated_at = time.time()
        return event

    def enter(self, state: str) -> None:
        """Change state; the newest event, if any, is the reason."""
        self.state = state
        self.updated_at = time.time()
        self.moves.append((state, self.events[0].id if self.events else ""))

    def rest_stopped(self, why: str) -> None:
        """Come to rest without an exit: nothing ran, or nobody asked how it ended."""
        self.add_event(why, "stopped")
        self.launch_due = False
        self.enter("stopped")

    def replace_config(self, config: dict[str, Any], image_ref: dict[str, Any]) -> None:
        """Begin a new version."""
        self.config, self.image_ref = config, image_ref
        self.instance_id = identifiers.ulid()
        self.versions.insert(0, {"version": self.instance_id, "user_config": config})

    def visible(self, retention_s: float) -> bool:
        """Whether GET still answers: not vanished, and not destroyed longer ago than that."""
        if self.vanished:
            return False
        return self.destroyed_at is None or time.time() - self.destroyed_at < retention_s

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        del document["moves"]
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Machine:
        document = dict(document)
        document["events"] = [Event(**event) for event in document["events"]]
        document["lease"] = Lease(**document["lease"]) if document["lease"] else None
        return cls(**document)
