"""How long the result is kept for the host: what of it has been handed over, and when the host last called.

Handing over is `control`'s, waiting `supervisor`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping

from flaude_guest import clock

if TYPE_CHECKING:
    from flaude_guest.job import Limits

DOUBT = 3
"""The last answer may have been lost on its way, in an outage: so many times the idle limit the host has to
ask again, until a further call shows that it has what it asked for."""


class Holding:
    """Told by the threads that answer verbs, asked by the one that waits: each member is set at once."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._given: dict[str, int] = {}
        self._began = self._called = clock.since_boot()
        self._doubt = True

    def begin(self, files: Mapping[str, Mapping[str, int]]) -> None:
        """The result is there; `files` is its own word on them."""
        self._began = self._called = clock.since_boot()
        self._sizes = {name: facts["size"] for name, facts in files.items()}

    def called(self) -> None:
        """The host is there, and has what was handed over before."""
        self._called = clock.since_boot()
        self._doubt = not self.all_given

    def handed_over(self, name: str, offset: int, length: int) -> None:
        """Only from the beginning on: what lies behind a gap has not been asked for yet."""
        given = self._given.get(name, 0)
        if offset <= given:
            self._given[name] = max(given, offset + length)
        self._doubt = True

    @property
    def all_given(self) -> bool:
        """Whether every byte that the result names was once in an answer."""
        return all(self._given.get(name, 0) >= size for name, size in self._sizes.items())

    def over(self, limits: Limits) -> bool:
        """Whether it has been held long enough."""
        now = clock.since_boot()
        idle_s = limits.hold_idle_s * (DOUBT if self._doubt else 1)
        return now - self._began >= limits.hold_s or (self.all_given and now - self._called >= idle_s)
