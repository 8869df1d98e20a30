"""Time that only passes where somebody waits: for what takes minutes."""

from __future__ import annotations

import math

from flaude_action.waiting import Deadline, Patience


class Clock:
    """Seconds that were waited in all."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, seconds: float, most_s: float = math.inf) -> Patience:
        """Patience by this clock, with so many seconds until its deadline."""
        patience = Patience(Deadline.after(seconds, lambda: self.now), sleep=self.sleep)
        patience.most_s = most_s
        return patience
