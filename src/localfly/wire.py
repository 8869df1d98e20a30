"""The JSON of the Machines API: answers from records, and error bodies in Fly's recorded words.

The words are from Fly's published documents, flyctl's and fly-go's sources and recorded answers; where
nothing is recorded the text follows the same pattern, a gRPC code and a sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localfly.exit_events import rfc3339_s

if TYPE_CHECKING:
    from localfly.machine_record import Event, Machine
    from localfly.store import App

EMBEDDED_EVENTS = 5
"""A machine shows only its newest events; the others must be asked for."""


class ApiError(Exception):
    """An answer that is not a success. `body` is JSON, a plain text, or nothing."""

    def __init__(self, status: int, body: dict[str, Any] | str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body: dict[str, Any] | str = body


def refused(status: int, error: str, code: str = "") -> ApiError:
    return ApiError(status, {"error": error, "status": code} if code else {"error": error})


def invalid(what: str) -> ApiError:
    return refused(400, f"invalid_argument: {what}")


def precondition(what: str) -> ApiError:
    return refused(412, f"failed_precondition: {what}")


def unauthenticated() -> ApiError:
    return refused(401, "Authenticate: token validation error")


def machine_not_found() -> ApiError:
    return refused(404, "machine not found")


def app_not_found() -> ApiError:
    return refused(404, "Could not find App")


def name_held(machine: Machine) -> ApiError:
    return refused(
        409,
        f"already_exists: unique machine name violation, machine ID {machine.id} already exists with name"
        f' "{machine.name}"',
    )


def not_reached(wanted: list[str], current: str) -> ApiError:
    return refused(
        408,
        f"deadline_exceeded: machine failed to reach desired state, {', '.join(wanted)}, currently {current}",
    )


def no_route() -> ApiError:
    return ApiError(404, "404 page not found\n")


def event_json(event: Event) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "status": event.status,
        "source": event.source,
        "timestamp": event.timestamp,
    }
    if event.request is not None:
        document["request"] = event.request
    return document


def machine_json(machine: Machine, *, nonce: str = "") -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": machine.id,
        "name": machine.name,
        "state": machine.state,
        "region": machine.region,
        "image_ref": machine.image_ref,
        "instance_id": machine.instance_id,
        "version": machine.instance_id,
        "private_ip": machine.private_ip,
        "created_at": rfc3339_s(machine.created_at),
        "updated_at": rfc3339_s(machine.updated_at),
        "config": machine.config,
        "events": [event_json(event) for event in machine.events[:EMBEDDED_EVENTS]],
        "checks": [],
        "host_status": "ok",
    }
    if nonce:
        document["nonce"] = nonce
    return document


def summary_json(machine: Machine) -> dict[str, Any]:
    """What `summary=true` lists: no configuration, no events."""
    document = machine_json(machine)
    return {key: document[key] for key in document if key not in ("config", "events", "checks")}


def app_json(app: App, machine_count: int) -> dict[str, Any]:
    return {
        "id": app.id,
        "internal_numeric_id": int(app.id, 16) % 10_000_000,
        "name": app.name,
        "status": "deployed" if machine_count else "pending",
        "network": app.network or "default",
        "machine_count": machine_count,
        "volume_count": 0,
        "organization": {
            "name": app.organization.title(),
            "slug": app.organization,
            "internal_numeric_id": 1,
        },
    }


def image_ref_json(reference: str, digest: str, labels: dict[str, str]) -> dict[str, Any]:
    """A reference in Fly's parts; Docker's rule decides whether the first part names a registry."""
    name, _, pinned = reference.partition("@")
    head, slash, rest = name.partition("/")
    named = bool(slash) and ("." in head or ":" in head or head == "localhost")
    registry, repository = (head, rest) if named else ("registry-1.docker.io", name)
    repository, _, tag = repository.partition(":")
    if not named and "/" not in repository:
        repository = f"library/{repository}"
    document: dict[str, Any] = {"registry": registry, "repository": repository, "labels": labels}
    if tag or not pinned:
        document["tag"] = tag or "latest"
    if digest or pinned:
        document["digest"] = pinned or digest
    return document
