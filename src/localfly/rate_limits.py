"""Fly's documented rate limits: per action and per identifier, a machine or (where there is none yet) an app.

https://fly.io/docs/machines/api/working-with-machines-api/#rate-limits. Waits and logs are not counted.
"""

from __future__ import annotations

import re

_MACHINE = re.compile(r"^/v1/apps/(?P<app>[^/]+)/machines(?:/(?P<machine>[^/]+)(?:/(?P<verb>[^/]+))?)?")
_READ = (5.0, 10.0)
_OTHER = (1.0, 3.0)


class RateLimits:
    """Token buckets: a rate per second and a burst for each action on each identifier."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, method: str, path: str, now_s: float) -> bool:
        """Whether one more such request may pass at this time."""
        found = _MACHINE.match(path)
        if found is None or found["verb"] == "wait":
            return True
        identifier = found["machine"] or found["app"]
        action = f"{method} {found['verb'] or ('machine' if found['machine'] else 'machines')}"
        rate, burst = _READ if action == "GET machine" else _OTHER
        left, then = self._buckets.get((action, identifier), (burst, now_s))
        left = min(burst, left + (now_s - then) * rate)
        allowed = left >= 1
        self._buckets[action, identifier] = (left - 1 if allowed else left, now_s)
        return allowed
