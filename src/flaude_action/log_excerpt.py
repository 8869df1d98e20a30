"""The lines of a run's log that are worth showing again: its end, and what each phase of the guest said last.

Fed with lines that are already safe to show. Guest and platform speak in the same log as the work; when a
command has failed, only its own lines help. Keeps a fixed number of lines however long the log is.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from flaude_action.log_witness import INIT_LINE
from flaude_guest.protocol import PHASES, parse_event_line

if TYPE_CHECKING:
    from collections.abc import Sequence

TAIL_LINES = 200
PHASE_LINES = 100
_EVENT = "[flaude:event:"
_NOT_THE_WORK = re.compile(r"^\s*$|^\[flaude|^\[(?:runner|proxy|health|lb|flyd)\] ")
# Where the guest was when a failure of this phase of the catalog happened.
_GUEST_PHASE = {
    "boot": "checks", "clone": "fetch", "setup": "setup", "agent": "agent", "model_api": "agent",
    "context": "agent", "limit": "agent", "collect": "collect",
}  # fmt: skip

_ANY_PHASE = ("boot", "machine", "timeout", "cancelled", "any", "logs")


class LogExcerpt:
    """Feed it the log's lines in order."""

    def __init__(self) -> None:
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._said: dict[str, deque[str]] = {}
        self._phase = ""

    def see(self, lines: Sequence[str]) -> None:
        start = 0
        for index, line in enumerate(lines):
            if line.startswith(_EVENT):
                self._keep(lines[start:index])
                self._enter(line)
                start = index + 1
        self._keep(lines[start:])
        self._tail.extend(line for line in lines[-TAIL_LINES:] if not line.startswith(_EVENT))

    def tail(self, count: int) -> tuple[str, ...]:
        """The log's last lines, whoever said them."""
        return tuple(self._tail)[-count:] if count else ()

    def of_failure(self, phase: str, count: int) -> tuple[str, ...]:
        """The last lines of the work that failed in a phase of the catalog.

        When the machine itself failed, those of the work it was at, or else of the platform.
        """
        said = self._work(_GUEST_PHASE.get(phase, ""))
        if not said and phase in _ANY_PHASE:
            platform = tuple(line for line in self._tail if not line.startswith("[flaude"))
            said = next(filter(None, map(self._work, reversed(self._said))), platform)
        return said[-count:]

    def _work(self, phase: str) -> tuple[str, ...]:
        lines = self._said.get(phase, ())
        return tuple(line for line in lines if not (_NOT_THE_WORK.match(line) or INIT_LINE.match(line)))

    def _enter(self, event_line: str) -> None:
        event = parse_event_line(event_line) or {}
        if event.get("type") == "phase" and event.get("phase") in PHASES:
            self._phase = str(event["phase"])

    def _keep(self, lines: Sequence[str]) -> None:
        if lines:
            # Last in, last in order: the newest work is found first.
            said = self._said.pop(self._phase, None) or deque(maxlen=PHASE_LINES)
            said.extend(lines[-PHASE_LINES:])
            self._said[self._phase] = said
