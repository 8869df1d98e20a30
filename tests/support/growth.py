"""Whether the time of a piece of work is in proportion to the length of its text, measured against itself."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FACTOR, MOST = 8, 12
"""So many times the text may take so many times as long."""
FLOOR_S = 0.008
"""What takes less is not measured: too much else would be in it."""
SMALLEST, LARGEST = 8 * 1024, 32 * 1024
TRIES = 4


def repeated(piece: str, size: int) -> str:
    """So many characters of it."""
    return (piece * (size // len(piece) + 1))[:size]


def check_growth(work: Callable[[str], object], piece: str) -> None:
    """Raises AssertionError when `work` on the piece, repeated, takes more than its share for more of it."""
    size = SMALLEST
    while (small := _seconds(work, repeated(piece, size))) < FLOOR_S and size < LARGEST:
        size *= 4
    large = _seconds(work, repeated(piece, size * FACTOR))
    for _ in range(TRIES):
        if large <= MOST * max(small, FLOOR_S):
            return
        large = min(large, _seconds(work, repeated(piece, size * FACTOR)))
    raise AssertionError(f"{size} characters take {small:.4f} s, {FACTOR} times as many {large:.4f} s")


def _seconds(work: Callable[[str], object], text: str) -> float:
    gc.disable()  # it looks at everybody's objects
    try:
        began = time.process_time()
        work(text)
        return time.process_time() - began
    finally:
        gc.enable()
