"""Fly's rate limits on our side: nobody is refused, whatever the way to Fly does with our requests' times."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from flaude_action.fly_limits import Limits
from localfly.rate_limits import RateLimits

MACHINE = "/v1/apps/a/machines/m1"
EXEC = ("POST", f"{MACHINE}/exec")


class World:
    """A clock that sleeping moves on, our limits, and Fly's own count of what arrives."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.limits = Limits(lambda: self.now, self.sleep)
        self.fly = RateLimits()
        self.refused = 0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def call(self, method: str, path: str, arrives_s: float = 0.0, takes_s: float = 0.0) -> None:
        await self.limits.turn(method, path)
        with self.limits.under_way(method, path):
            self.now += arrives_s
            self.refused += not self.fly.take(method, path, self.now)
            self.now += takes_s


async def spent(world: World, count: int, method: str, path: str) -> float:
    began = world.now
    for _ in range(count):
        await world.call(method, path)
    assert world.refused == 0
    return world.now - began


async def test_the_pace_is_flys() -> None:
    """A burst at once, then as many a second as Fly publishes, and hardly fewer."""
    assert await spent(World(), 3, *EXEC) == 0
    assert 7 <= await spent(World(), 10, *EXEC) < 7.5
    assert await spent(World(), 10, "GET", MACHINE) == 0
    assert 2 <= await spent(World(), 20, "GET", MACHINE) < 2.1
    assert 2 <= await spent(World(), 5, "POST", "/v1/apps/a/machines") < 2.1
    assert 2 <= await spent(World(), 5, "GET", "/v1/apps/a") < 2.1


async def test_each_machine_and_each_action_has_its_own() -> None:
    """Many machines at once keep each other waiting for nothing, nor does a destroy wait for execs."""
    world = World()
    assert await spent(world, 3, *EXEC) == 0
    for path in ("/v1/apps/a/machines/m2/exec", f"{MACHINE}/stop"):
        assert await spent(world, 3, "POST", path) == 0
    assert await spent(world, 3, "DELETE", MACHINE) == 0
    assert await spent(world, 3, "GET", f"{MACHINE}/events") == 0


async def test_waits_and_logs_have_no_limit() -> None:
    """As Fly documents."""
    assert await spent(World(), 50, "GET", f"{MACHINE}/wait") == 0
    assert await spent(World(), 50, "GET", "/api/v1/apps/a/logs") == 0


Times = st.floats(0, 3)


@given(st.lists(st.tuples(Times, Times, Times), min_size=4, max_size=40))
def test_nobody_is_refused_whatever_the_way_takes(calls: list[tuple[float, float, float]]) -> None:
    """A request that takes long to arrive, or to be answered, is counted by Fly later than it was sent."""

    async def all_of_them() -> int:
        world = World()
        for arrives_s, takes_s, idle_s in calls:
            await world.call(*EXEC, min(arrives_s, 0.9), takes_s)
            world.now += idle_s if idle_s > 2 else 0
        return world.refused

    assert asyncio.run(all_of_them()) == 0


async def test_at_once_from_many_tasks() -> None:
    """Tasks that ask in the same moment share the turns."""
    world = World()

    async def one(number: int) -> None:
        await world.call(*EXEC)

    await asyncio.gather(*map(one, range(12)))
    assert world.refused == 0


async def test_something_urgent_finds_a_turn() -> None:
    """A status call that waits for a spare turn leaves one, and learns how long its answer may take."""
    world = World()
    assert await world.limits.spare_turn(*EXEC) == 0
    await world.call(*EXEC)
    await world.call(*EXEC)
    began = world.now
    settle = await world.limits.spare_turn(*EXEC)
    assert 0.9 < world.now - began < 1.1
    await world.call(*EXEC)
    urgent = world.now
    await world.call(*EXEC)
    assert world.now == urgent
    assert 0.9 < settle <= 1.02
    assert world.refused == 0


async def test_a_call_that_is_broken_off_counts() -> None:
    """It may have been on its way."""
    world = World()
    for _ in range(3):
        await world.limits.turn(*EXEC)
        with contextlib.ExitStack() as sent:
            sent.enter_context(world.limits.under_way(*EXEC))
            world.fly.take(*EXEC, world.now)
    assert 0.9 < await spent(world, 1, *EXEC) < 1.1


async def test_idle_machines_are_forgotten() -> None:
    """A process that runs for long keeps no list of all its machines."""
    world = World()
    for number in range(5000):
        await world.call("POST", f"/v1/apps/a/machines/m{number}/exec")
        world.now += 0.01
    assert len(world.limits._buckets) < 1500
