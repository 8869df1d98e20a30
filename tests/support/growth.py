"""Whether the time of a piece of work is in proportion to the length of its text, measured against itself."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Text = TypeVar("Text", str, bytes)

FACTOR, MOST = 8, 12
"""So many times the text may take so many times as long."""
FLOOR_S = 0.008
"""What takes less is not measured: too much else would be in it."""
SMALLEST, LARGEST = 8 * 1024, 32 * 1024
TRIES = 6


def repeated(piece: str, size: int) -> str:
    """So many characters of it."""
    return (piece * (size // len(piece) + 1))[:size]


def check_growth(work: Callable[[str], object], piece: str) -> None:
    """Raises AssertionError when `work` on the piece, repeated, takes more than its share for more of it."""
    size = SMALLEST
    while size < LARGEST and seconds_of(work, repeated(piece, size)) < FLOOR_S:
        size *= 4
    check_share(lambda size: seconds_of(work, repeated(piece, size)), size)


def check_share(seconds: Callable[[int], float], size: int) -> None:
    """Raises AssertionError when `FACTOR` times the size takes more than `MOST` times as long.

    Measured in pairs, one right after the other: what else the machine does spoils some of them, and what
    grows with the square of its size keeps to it in none.
    """
    pairs = []
    for _ in range(TRIES):
        pairs.append((seconds(size), seconds(size * FACTOR)))
        small, large = pairs[-1]
        if large <= MOST * max(small, FLOOR_S):
            return
    raise AssertionError(f"size {size} and {FACTOR} times as much take, in seconds: {pairs}")


def seconds_of(work: Callable[[Text], object], text: Text) -> float:
    """This process's own time for it."""
    gc.disable()  # it looks at everybody's objects
    try:
        began = time.process_time()
        work(text)
        return time.process_time() - began
    finally:
        gc.enable()
