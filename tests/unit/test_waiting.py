"""Deadlines, cancellation and cleanup that a cancel cannot cut short."""

from __future__ import annotations

import asyncio

import pytest

from flaude_action.waiting import Cancellation, Deadline, finish


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
    """The first signal asks, the second one insists; the first reason stays."""
    cancellation = Cancellation()
    cancellation.request("SIGINT")
    assert cancellation.requested
    assert not cancellation.at_once
    cancellation.request("SIGTERM")
    await cancellation.wait_at_once()
    assert (cancellation.reason, cancellation.at_once) == ("SIGINT", True)


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

    async def cleanup() -> None:
        await asyncio.sleep(0)
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await finish(cleanup())
