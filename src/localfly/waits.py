"""`GET …/wait`: block until a machine is in, or passes through, a wanted state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localfly.machine_record import RESTING, Machine
from localfly.wire import invalid, machine_not_found, not_reached

if TYPE_CHECKING:
    from localfly.flyd import Flyd

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
    if not text.lstrip("-").isdigit():
        raise invalid(f"invalid timeout '{text}'")
    if not 1 <= int(text) <= 60:
        raise invalid("invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]")
    return int(text)


async def wait_for(
    flyd: Flyd, machine: Machine, wanted: list[str], *, version: str, from_event_id: str, timeout_s: float
) -> dict[str, Any]:
    """The answer once the machine reaches one of the states; raises ApiError 404 or 408.

    A state that is only passed through counts. With `from_event_id` only what came after that event
    counts, so that the end of an earlier launch does not.
    """
    goal = RESTING if "settled" in wanted else frozenset(wanted)
    if version and version not in [known["version"] for known in machine.versions]:
        raise machine_not_found()
    if machine.gone and not flyd.settings.wait_destroyed_answers:
        raise machine_not_found()
    if from_event_id:
        later = [event for event in machine.events if event.id > from_event_id]
        reached = next((event.status for event in reversed(later) if event.status in goal), "")
    else:
        reached = machine.state if machine.state in goal else ""
    until = time.monotonic() + timeout_s
    seen = len(machine.moves)
    while not reached:
        if version and version != machine.instance_id:
            raise not_reached(wanted, "replaced")
        if machine.gone or machine.vanished:
            raise machine_not_found()
        if not await flyd.next_change(machine, max(until - time.monotonic(), 0)):
            raise not_reached(wanted, machine.state)
        reached = next((state for state, _ in machine.moves[seen:] if state in goal), "")
        seen = len(machine.moves)
    return {"ok": True, "state": reached, "version": machine.instance_id, "event_id": machine.events[0].id}
