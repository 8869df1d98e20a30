"""One run over a Fly in this process: wherever it is cancelled, no machine and no task is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.fly_inside import IMAGE, Inside, ScriptedBackend, fly_inside

from flaude_action import machine
from flaude_action.errors import MachineTimeout, RunCancelled
from flaude_action.execution import Execution
from flaude_action.fly import Fly
from flaude_action.machine_config import MachineConfig
from flaude_action.outcome import Errand, Outcome
from flaude_action.waiting import Cancellation
from localfly.serve import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator
    from pathlib import Path

    from localfly.backend import Launch, Sink, Workload

CONFIG = MachineConfig(image=IMAGE, guest="foreign", prompt="Fix it.", anthropic_api_key="k", timeout_s=0.05)
CREATE_TURNS = 80
"""More turns of the event loop than it takes until the machine is created."""


class Brief(ScriptedBackend):
    """Every workload says a word and exits with 0."""

    async def start(self, launch: Launch, sink: Sink) -> Workload:
        await super().start(launch, sink)
        workload = self.started[-1]
        workload.say("working")
        workload.end()
        return workload


class Network(httpx.AsyncBaseTransport):
    """To a server that goes on with a request when its client has hung up, as real ones do."""

    def __init__(self, there: Inside) -> None:
        self._inner = httpx.ASGITransport(make_app(there.fly))
        self._serving: set[asyncio.Future[httpx.Response]] = set()
        self.mute = ""
        """A method whose answers never arrive."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        serving = asyncio.ensure_future(self._inner.handle_async_request(request))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        answer = await asyncio.shield(serving)
        await asyncio.sleep(60 if request.method == self.mute else 0)
        return answer

    async def settle(self) -> None:
        """Return when every request has been dealt with."""
        while self._serving:
            await asyncio.wait(self._serving)


class Interrupted:
    """Work that is cancelled where it awaits for the n-th time: while it waits, or in the moment it wakes.

    The second is what a cancel does that comes in the same turn of the loop as what was waited for.
    """

    def __init__(self, work: Coroutine[Any, Any, Outcome], nth: int, *, waking: bool) -> None:
        self._work, self._nth, self._waking = work, nth, waking
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Outcome]:
        steps, count = self._work.__await__(), 0
        error: BaseException | None = None
        while True:
            try:
                future = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as stop:
                outcome: Outcome = stop.value
                return outcome
            error, here, count = None, count == self._nth, count + 1
            self.reached = self.reached or here
            task = asyncio.current_task()
            if here and not self._waking and task is not None:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield future
            except asyncio.CancelledError as cancel:
                error = cancel
            else:
                error = asyncio.CancelledError() if here and self._waking else None


@asynccontextmanager
async def place(
    folder: Path, backend: type[ScriptedBackend] = ScriptedBackend
) -> AsyncIterator[tuple[Inside, Fly, Network]]:
    """By default a workload lasts until it is killed, so that nothing is gone but what we destroyed."""
    async with fly_inside(folder, backend()) as there:
        network = Network(there)
        async with Fly("fm2_test", flaps_url="http://fly", api_url="http://fly", transport=network) as fly:
            yield there, fly, network


def execution(
    fly: Fly, folder: Path, cancellation: Cancellation | None = None, *, wait_timeout: float | None = None
) -> Execution:
    errand = Errand("local", "run", folder, wait_timeout=wait_timeout)
    return Execution(fly, CONFIG, errand, cancellation=cancellation)


async def ended(work: Awaitable[Outcome]) -> None:
    """Return when it is over: with an outcome, or cancelled."""
    with contextlib.suppress(asyncio.CancelledError, RunCancelled):
        await work


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def left(there: Inside) -> list[str]:
    """Machines that live, and our own tasks that are still there beside the test's."""
    machines = there.fly.store.machines.values()
    alive = [machine.id for machine in machines if machine.state not in ("destroying", "destroyed")]
    others = asyncio.all_tasks() - {asyncio.current_task()}
    names = [getattr(task.get_coro(), "__qualname__", "") for task in others]
    return alive + [name for name in names if name.startswith(("Execution", "Machine", "LogFollower"))]


@pytest.mark.parametrize(("backend", "type_"), [(Brief, ""), (ScriptedBackend, "run_timeout")])
async def test_it_runs(tmp_path: Path, backend: type[ScriptedBackend], type_: str) -> None:
    """What the tests below interrupt is real: a run that ends by itself, and one that we end."""
    async with place(tmp_path, backend) as (there, fly, _):
        outcome = await execution(fly, tmp_path).run()
        assert (outcome.verdict.type, outcome.cleanup) == (type_, "destroyed")
        assert left(there) == []


async def test_a_create_that_hangs_is_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's patience covers the create call too, and what it may have made is destroyed."""
    monkeypatch.setattr(machine, "CREATE_CLEANUP_S", 0.01)
    async with place(tmp_path) as (there, fly, network):
        network.mute = "POST"
        with pytest.raises(MachineTimeout) as raised:
            await asyncio.wait_for(execution(fly, tmp_path, wait_timeout=0.05).run(), 10)
        assert raised.value.type == "run_timeout"
        assert len(there.fly.store.machines) == 1
        assert left(there) == []


async def test_a_stop_wins_over_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that is asked for while a create that took too long is cleaned up: the run was cancelled."""
    monkeypatch.setattr(machine, "CREATE_CLEANUP_S", 0.2)
    async with place(tmp_path) as (there, fly, network):
        network.mute = "POST"
        cancellation = Cancellation()
        asyncio.get_running_loop().call_later(0.15, cancellation.request)
        with pytest.raises(RunCancelled):
            await asyncio.wait_for(execution(fly, tmp_path, cancellation, wait_timeout=0.05).run(), 10)
        assert left(there) == []


@pytest.mark.parametrize("again_after", [None, 0, 3])
async def test_a_cancel_during_create_leaves_nothing(tmp_path: Path, again_after: int | None) -> None:
    """The task is cancelled after one more turn of the loop each time, once or twice."""
    async with place(tmp_path) as (there, fly, network):
        for count in range(CREATE_TURNS):
            task = asyncio.ensure_future(execution(fly, tmp_path).run())
            await turns(count)
            task.cancel()
            if again_after is not None:
                await turns(again_after)
                task.cancel()
            await ended(task)
            await network.settle()
            assert (count, left(there)) == (count, [])


@pytest.mark.parametrize("backend", [Brief, ScriptedBackend])
@pytest.mark.parametrize("waking", [False, True], ids=["waiting", "waking"])
async def test_a_cancel_at_any_await_leaves_nothing(
    tmp_path: Path, waking: bool, backend: type[ScriptedBackend]
) -> None:
    """The run is cancelled at its first await, its second, and so on to its last."""
    count, reached = 0, True
    async with place(tmp_path, backend) as (there, fly, network):
        while reached:
            work = Interrupted(execution(fly, tmp_path).run(), count, waking=waking)
            await asyncio.wait([asyncio.ensure_future(ended(work))])
            await network.settle()
            assert (count, left(there)) == (count, [])
            count, reached = count + 1, work.reached
    assert count > 10


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_signal_anywhere_leaves_nothing(tmp_path: Path, signals: int) -> None:
    """A stop that is asked for at any moment ends the run in order, with an outcome or without."""
    async with place(tmp_path) as (there, fly, network):

        async def stopped(after_s: float) -> None:
            cancellation = Cancellation()
            running = asyncio.ensure_future(execution(fly, tmp_path, cancellation).run())
            await asyncio.sleep(after_s)
            for _ in range(signals):
                cancellation.request()
            await ended(running)

        await asyncio.gather(*(stopped(milliseconds / 1000) for milliseconds in range(0, 60, 3)))
        await network.settle()
        assert left(there) == []
