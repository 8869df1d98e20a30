"""Fly's published rate limits, kept on our side: a request waits here for its turn before it is sent.

Per action and per machine (or app, where there is no machine yet) 1 request a second with a burst of 3, Get
Machine 5 with a burst of 10; waiting for a state and the logs host are not limited.
https://fly.io/docs/machines/api/working-with-machines-api/#rate-limits
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

READS: Final = (5.0, 10)
OTHERS: Final = (1.0, 3)
"""Requests a second, and how many at once."""
SLOWER: Final = 1.01
"""Our clock and Fly's are two."""
ARRIVES_S: Final = 1.0
"""A request that is not answered by then has been counted all the same: the answer may take a minute."""
MOST_BUCKETS: Final = 1000

_MACHINE = re.compile(r"/v1/apps/[^/]+/machines/[^/]+(?P<action>/[^/]+)?")


class Bucket:
    """The turns of one action on one identifier. Times are seconds on the caller's clock.

    A request counts from its answer on, not from when it was sent: Fly counts somewhere between, and must
    never count more of them in a span than we do.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self.period, self._burst = SLOWER / rate, burst
        self._full_at = float("-inf")
        self._flying: list[float] = []

    def wait_s(self, now: float, spare: int = 0) -> float:
        """Seconds until one more may be sent, and `spare` others after it; 0 when it may be now."""
        self._land(now)
        full_at = max(self._full_at, now) + len(self._flying) * self.period
        return max(0.0, full_at - now - (self._burst - 1 - spare) * self.period)

    def next_s(self, now: float) -> float:
        """How long the request that is sent now may take, so that the one after it finds its turn."""
        return min(self.period, max(0.0, self._full_at - now))

    def sent(self, now: float) -> None:
        self._flying.append(now)

    def answered(self, sent: float, now: float) -> None:
        self._land(now)
        if sent in self._flying:
            self._flying.remove(sent)
            self._count(now)

    def idle(self, now: float) -> bool:
        self._land(now)
        return not self._flying and self._full_at <= now

    def _land(self, now: float) -> None:
        while self._flying and self._flying[0] + ARRIVES_S <= now:
            self._count(self._flying.pop(0) + ARRIVES_S)

    def _count(self, at: float) -> None:
        self._full_at = max(self._full_at, at) + self.period


class Limits:
    """All buckets of one Fly. Bound to no event loop, so that all clients of a process can share it."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._buckets: dict[tuple[str, str], Bucket] = {}

    async def turn(self, method: str, path: str) -> None:
        """Wait until the request may be sent; it is then `under_way`, with nothing awaited between."""
        if (bucket := self._bucket(method, path)) is not None:
            await self._wait(bucket, 0)

    @contextmanager
    def under_way(self, method: str, path: str) -> Iterator[None]:
        """The time from sending a request to its answer, or to the end of waiting for it."""
        bucket, sent = self._bucket(method, path), self._clock()
        if bucket is None:
            yield
            return
        bucket.sent(sent)
        try:
            yield
        finally:
            bucket.answered(sent, self._clock())

    async def spare_turn(self, method: str, path: str) -> float:
        """Wait until the request may be sent and one more at once after it: something urgent finds a turn.

        Seconds that the answer may take without keeping the request after it waiting.
        """
        bucket = self._bucket(method, path)
        if bucket is None:
            return 0.0
        await self._wait(bucket, 1)
        return bucket.next_s(self._clock())

    async def _wait(self, bucket: Bucket, spare: int) -> None:
        while (seconds := bucket.wait_s(self._clock(), spare)) > 0:
            await self._sleep(seconds)

    def _bucket(self, method: str, path: str) -> Bucket | None:
        """None for what has no limit. A path names the action and what it is done to."""
        machine = _MACHINE.fullmatch(path)
        if not path.startswith("/v1/") or (machine and machine["action"] == "/wait"):
            return None
        key = (method, path)
        if key not in self._buckets:
            self._forget_idle()
            reads = method == "GET" and machine and not machine["action"]
            self._buckets[key] = Bucket(*(READS if reads else OTHERS))
        return self._buckets[key]

    def _forget_idle(self) -> None:
        if len(self._buckets) >= MOST_BUCKETS:
            now = self._clock()
            self._buckets = {key: one for key, one in self._buckets.items() if not one.idle(now)}


class Unlimited(Limits):
    """Of a transport that is no network: nobody counts there."""

    def _bucket(self, method: str, path: str) -> Bucket | None:
        return None


_shared: dict[str, Limits] = {}


def shared(flaps_url: str) -> Limits:
    """The one of this process for that Fly: its clients, one a run, may make machines in the same app."""
    return _shared.setdefault(flaps_url, Limits())
