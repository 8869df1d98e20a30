"""`GET …/wait`: block until a machine is in, or passes through, a wanted state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localfly.bodies import whole
from localfly.machine_record import RESTING, Machine
from localfly.wire import invalid, machine_not_found, not_reached

if TYPE_CHECKING:
    from localfly.machine_changes import MachineChanges

STATES = ("started", "stopped", "suspended", "destroyed", "failed", "settled")


def wanted_states(repeated: list[str]) -> list[str]:
    """`state` may be repeated and may hold commas; none means started. Raises ApiError."""
    states = [state for text in repeated for state in text.split(",") if state] or ["started"]
    for state in states:
        if state not in STATES:
            raise invalid(f"invalid WaitMachineRequest.State: unknown state '{state}'")
    return states


def timeout_s(text: str | None) -> int:
    """Whole seconds from 1 to 60; 60 when not given. Raises ApiError in Fly's words."""
    if text is None:
        return 60
    seconds = whole(text)
    if seconds is None:
        raise invalid(f"invalid timeout '{text}'")
    if not 1 <= seconds <= 60:
        raise invalid("invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]")
    return seconds


async def wait_for(
    changes: MachineChanges,
    machine: Machine,
    wanted: list[str],
    *,
    version: str,
    from_event_id: str,
    timeout_s: float,
    destroyed_answers: bool = False,
) -> dict[str, Any]:
    """The answer once the machine reaches one of the states; raises ApiError 404 or 408.

    A state that is only passed through counts, and the answer names the event that led to it. With
    `from_event_id` only what came after that event counts, so that the end of an earlier launch does not.
    """
    goal = RESTING if "settled" in wanted else frozenset(wanted)
    if version and version not in [known["version"] for known in machine.versions]:
        raise machine_not_found()
    if machine.gone and not destroyed_answers:
        raise machine_not_found()
    reached = _reached_before(machine, goal, from_event_id)
    until = time.monotonic() + timeout_s
    seen = len(machine.moves)
    while reached is None:
        if version and version != machine.instance_id:
            raise not_reached(wanted, "replaced")
        if machine.gone or machine.vanished:
            raise machine_not_found()
        if not await changes.next(machine, max(until - time.monotonic(), 0)):
            raise not_reached(wanted, machine.state)
        reached = next((move for move in machine.moves[seen:] if move[0] in goal), None)
        seen = len(machine.moves)
    state, event_id = reached
    return {"ok": True, "state": state, "version": machine.instance_id, "event_id": event_id}


def _reached_before(machine: Machine, goal: frozenset[str], from_event_id: str) -> tuple[str, str] | None:
    """The state that satisfies a wait at once, and its event."""
    if from_event_id:
        later = [event for event in reversed(machine.events) if event.id > from_event_id]
        return next(((event.status, event.id) for event in later if event.status in goal), None)
    return (machine.state, machine.events[0].id) if machine.state in goal else None
