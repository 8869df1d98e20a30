"""Leases: who holds one may change the machine, everybody else gets 409 until it ends."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from localfly.exit_events import rfc3339_s
from localfly.machine_record import Lease, Machine
from localfly.wire import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

NONCE_HEADER = "fly-machine-lease-nonce"
LONGEST_S = 365 * 24 * 3600
OWNER = "someone@localfly.invalid"


def take(machine: Machine, ttl_s: int, description: str) -> Lease:
    """Give out a lease, or prolong the one in force; its nonce is the key to it."""
    held = current(machine)
    nonce = held.nonce if held else secrets.token_hex(6)
    machine.lease = Lease(nonce, OWNER, description, int(time.time()) + ttl_s)
    return machine.lease


def as_json(lease: Lease, version: str) -> dict[str, Any]:
    return asdict(lease) | {"version": version}


def current(machine: Machine) -> Lease | None:
    return machine.lease if machine.lease is not None and machine.lease.held() else None


def check(machine: Machine, request: Request) -> None:
    """Raises ApiError 409 when somebody else holds the machine."""
    lease = current(machine)
    if lease is not None and request.headers.get(NONCE_HEADER) != lease.nonce:
        text = (
            f"machine ID {machine.id} lease currently held by {lease.owner},"
            f" expires at {rfc3339_s(lease.expires_at)}"
        )
        raise ApiError(409, {"status": "error", "message": text})
