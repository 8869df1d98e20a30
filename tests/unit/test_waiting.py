"""Deadlines, cancellation and cleanup that a cancel cannot cut short."""

from __future__ import annotations

import asyncio
import gc

import pytest

from flaude_action.errors import RunCancelled
from flaude_action.waiting import Cancellation, Deadline, finish, patiently, unless_cancelled


def test_deadline_counts_down_and_never_below_zero() -> None:
    """What is left shrinks with the clock and stops at zero."""
    now = [10.0]
    deadline = Deadline.after(5, clock=lambda: now[0])
    assert deadline.left == 5
    assert deadline.within(2) == 2
    now[0] = 14.0
    assert deadline.within(2) == 1
    now[0] = 99.0
    assert deadline.left == 0
    assert deadline.passed


async def test_second_request_means_at_once() -> None:
    """The first signal asks, the second one insists."""
    cancellation = Cancellation()
    cancellation.request()
    assert cancellation.requested
    assert not cancellation.at_once
    cancellation.request()
    await cancellation.wait_at_once()
    assert cancellation.at_once


async def slow(seconds: float, steps: list[str]) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        steps.append("cancelled")
        raise
    return "done"


async def test_patience_lasts_until_it_is_called_off() -> None:
    """Work is waited for; once called off it has its grace, and is cancelled after that."""
    steps: list[str] = []
    never, called_off = asyncio.Event(), asyncio.Event()
    called_off.set()
    assert await patiently(slow(0.01, steps), never.wait(), 0.0) == "done"
    assert await patiently(slow(0.01, steps), called_off.wait(), 10.0) == "done"
    assert steps == []
    assert await patiently(slow(10.0, steps), called_off.wait(), 0.01) is None
    assert steps == ["cancelled"]


async def test_patience_passes_failures_and_cancels_on() -> None:
    """The work's own failure is raised; a cancel of the waiting task ends the work too."""
    steps: list[str] = []
    with pytest.raises(OSError, match="broken"):
        await patiently(broken(), asyncio.Event().wait(), 0.0)
    task = asyncio.ensure_future(patiently(slow(10.0, steps), asyncio.Event().wait(), 0.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cancelled"]


async def broken() -> None:
    await asyncio.sleep(0)
    raise OSError("broken")


async def test_work_that_fails_while_it_is_stopped_is_not_complained_of() -> None:
    """Whoever stops it does not want to hear how: asyncio reports no exception that nobody retrieved."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def fails() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise OSError("broken") from None

    cancellation = Cancellation()
    work = asyncio.ensure_future(unless_cancelled(fails(), cancellation))
    await asyncio.sleep(0.01)
    cancellation.request()
    with pytest.raises(RunCancelled):
        await work
    del work
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_finish_outlives_a_cancel() -> None:
    """Cleanup runs to its end although its task is cancelled twice, and the cancel is passed on."""
    steps: list[str] = []

    async def cleanup() -> None:
        await asyncio.sleep(0.02)
        steps.append("done")

    task = asyncio.ensure_future(finish(cleanup()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["done"]


async def test_finish_passes_failures_on() -> None:
    """The work's own failure is raised to whoever waits for it."""

    with pytest.raises(OSError, match="broken"):
        await finish(broken())
