"""Runs several cases of one test at once: those that mostly wait, for Fly's pace or for an outage to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path


async def side_by_side(
    folder: Path, cases: Mapping[str, Callable[[Path], Awaitable[None]]], at_once: int = 4
) -> None:
    """Each case gets a folder of its own. Raises ExceptionGroup of all that failed, their names in notes."""
    turns = asyncio.Semaphore(at_once)

    async def one(number: int, case: Callable[[Path], Awaitable[None]]) -> None:
        async with turns:
            (place := folder / str(number)).mkdir()
            await case(place)

    runs = (one(number, case) for number, case in enumerate(cases.values()))
    failed = []
    for name, end in zip(cases, await asyncio.gather(*runs, return_exceptions=True), strict=True):
        if isinstance(end, BaseException):
            end.add_note(f"in the case: {name}")
            failed.append(end)
    if failed:
        raise BaseExceptionGroup("cases failed", failed)
