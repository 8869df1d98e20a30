"""What Fly's events tell of a machine's end, in the verdict's words: the newest launch counts, nothing older.

Reading the events is `fly`'s, weighing them `verdict`'s.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flaude_action.errors import FlyAPIError
from flaude_action.evidence import ExitEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flaude_action.fly import Fly
    from flaude_action.fly_events import Event

log = logging.getLogger(__name__)

EVENTS_RETRY_S = 5.0


@dataclass(frozen=True)
class History:
    """The newest exit of the newest launch, if there is one; whether the launch is known and no start is."""

    exit: ExitEvent | None = None
    never_started: bool = False


async def history(fly: Fly, app: str, machine_id: str) -> History:
    """What Fly's events tell of the end; nothing when Fly does not give them."""
    events = await _events(fly, app, machine_id)
    kinds = {event.type for event in events}
    never_started = "launch" in kinds and "start" not in kinds
    for event in events:
        if event.exit is not None or event.type == "crash":
            return History(_told(event))
        if event.type in ("start", "launch"):
            break
    return History(None, never_started)


async def _events(fly: Fly, app: str, machine_id: str) -> Sequence[Event]:
    """The whole history; when Fly does not give it, the five newest events in the machine's record."""
    try:
        return await fly.events(app, machine_id, retry_for=EVENTS_RETRY_S)
    except FlyAPIError as error:
        log.info("reading the machine's events: %s", error)
    try:
        return (await fly.get_machine(app, machine_id, retry_for=EVENTS_RETRY_S)).events
    except FlyAPIError as error:
        log.info("reading the machine's record instead: %s", error)
        return ()


def _told(event: Event) -> ExitEvent:
    """Fly's words as the verdict wants them."""
    exit_ = event.exit
    if exit_ is None:
        return ExitEvent(type=event.type)
    return ExitEvent(
        type=event.type,
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        guest_signal=exit_.guest_signal,
        oom_killed=exit_.oom_killed,
        requested_stop=exit_.requested_stop,
        error=exit_.error or exit_.guest_error,
        guest_exit_code=exit_.guest_exit_code,
        unknown_keys=tuple(sorted(exit_.unknown_keys)),
    )
