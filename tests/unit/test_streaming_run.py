"""Lines between the log and their reader: who waits for whom, and which lines may be lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from flaude_action.streaming_run import Backlog

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 3
LINES = [str(number) for number in range(10)]


async def write(backlog: Backlog, lines: Iterable[str]) -> None:
    for line in lines:
        await backlog.put(line)
    backlog.close()


async def read(backlog: Backlog) -> list[str]:
    lines = []
    while (line := await backlog.next()) is not None:
        lines.append(line)
    return lines


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_slow_reader_gets_every_line() -> None:
    """The writer waits for room; nothing is lost, also not of a backlog that is full at the end."""
    backlog = Backlog(MOST)
    writing = asyncio.ensure_future(write(backlog, LINES))
    await settled()
    assert not writing.done()
    first = [await backlog.next() for _ in range(len(LINES) - MOST)]
    await settled()
    assert writing.done()
    assert first + await read(backlog) == LINES


async def test_nobody_is_waited_for_once_lines_may_be_dropped() -> None:
    """A writer that waits goes on; the newest lines are kept."""
    backlog = Backlog(MOST)
    writing = asyncio.ensure_future(write(backlog, LINES))
    await settled()
    backlog.drop_unread()
    await asyncio.wait_for(writing, 1)
    assert await read(backlog) == LINES[-MOST:]


@pytest.mark.parametrize("readers", [1, 2])
async def test_readers_wait_for_lines_and_all_see_the_end(readers: int) -> None:
    """Readers that came first get the lines between them, each line once."""
    backlog = Backlog(MOST)
    reading = [asyncio.ensure_future(read(backlog)) for _ in range(readers)]
    await settled()
    await write(backlog, LINES)
    got = await asyncio.gather(*reading)
    assert sorted(line for lines in got for line in lines) == LINES
    assert await read(backlog) == []


async def test_a_cancelled_writer_and_reader_leave_it_usable() -> None:
    """A put and a next that are cancelled while they wait take nothing with them."""
    backlog = Backlog(1)
    reading = asyncio.ensure_future(backlog.next())
    await settled()
    reading.cancel()
    await backlog.put("a")
    writing = asyncio.ensure_future(backlog.put("b"))
    await settled()
    writing.cancel()
    backlog.close()
    assert await read(backlog) == ["a"]
