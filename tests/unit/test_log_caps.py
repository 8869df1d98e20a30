"""A log that does not end: its beginning and its end are kept, and what is between is told."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaude_action.log_caps import Cap, CappedLines


class Kept:
    """What came out: all lines, how often it was said that it is too much, and what was left out."""

    def __init__(self, cap: Cap, pages: list[list[str]]) -> None:
        self.lines: list[str] = []
        self.full = 0
        self.left: tuple[int, int] = (0, 0)
        capped = CappedLines(cap, lambda text: self.lines.extend(text.split("\n")), self._see_full)
        for page in pages:
            capped.add(page)
        self.head = len(self.lines)
        capped.end(self._see_left)

    def _see_full(self) -> None:
        self.full += 1

    def _see_left(self, lines: int, size: int) -> None:
        self.left = lines, size


def size(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


LINES = st.lists(st.text("ab\u20ac\U0001f600", max_size=9), max_size=8)


@given(st.lists(LINES, max_size=12), st.integers(0, 60), st.integers(1, 60), st.integers(1, 9))
def test_beginning_and_end(pages: list[list[str]], head: int, tail: int, tail_lines: int) -> None:
    """Every line is written once, in order, or counted; neither part is larger than its cap, and none is left
    out for which there was room."""
    lines = [line for page in pages for line in page]
    kept = Kept(Cap(head, tail, tail_lines), pages)
    left, left_size = kept.left
    assert kept.lines == lines[: kept.head] + lines[kept.head + left :]
    assert left_size == size(lines[kept.head : kept.head + left])
    assert kept.full == (kept.head < len(lines))
    assert size(kept.lines[: kept.head]) <= head
    end = kept.lines[kept.head :]
    assert size(end) <= tail
    assert len(end) <= tail_lines
    if left:
        more = lines[kept.head + left - 1 :]
        assert size(more) > tail or len(more) > tail_lines
    assert kept.head == len(lines) or size(lines[: kept.head + 1]) > head


@pytest.mark.parametrize("line", ["y", "y" * 30_000, "\u20ac" * 30_000])
def test_it_holds_no_more_than_it_must(line: str) -> None:
    """However many lines come, and however short they are, they take little more than their bytes."""
    capped = CappedLines(Cap(0, 512 * 1024), lambda _: None, lambda: None)
    page = [line] * max(1, 20_000 // len(line))
    tracemalloc.start()
    try:
        for _ in range(200):
            capped.add(list(page))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 1024 * 1024
