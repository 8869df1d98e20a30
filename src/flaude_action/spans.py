"""Stretches of a text: found, joined and replaced, in time in proportion to its length whatever it is.

What is looked for, and why, is `redaction`'s. Spans are handed on one by one and never held all at once: of a
text that is made for it they would take many times its own size.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]
"""Start and end."""
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
LINE = re.compile(f"[^{_LINE_ENDS}]+")
_LINE_WITH_END = re.compile(f"[^{_LINE_ENDS}]*(\r\n|[{_LINE_ENDS}])|[^{_LINE_ENDS}]+")
DOTS = re.compile(r"\.{3,}|…+")
_SURE = 8
"""Fewer characters of a word are not taken for its beginning."""


def places(text: str, word: str) -> Iterator[Span]:
    """Where the word stands."""
    start = text.find(word)
    while start >= 0:
        yield start, start + len(word)
        start = text.find(word, start + len(word))


def beginnings(text: str, cuts: Iterable[Span], words: Sequence[str]) -> Iterator[Span]:
    """What stands before a cut and is how one of the words begins, in the order of the starts.

    A cut is the place where the text before it ends, and the place after its dots. Of spans that end together
    the longest counts. A word with dots in it may hold a cut, and so what was found at that; hence what was
    found waits until nothing can begin before it any more.
    """
    every, firsts = "\n".join(words), [0, *accumulate(len(word) + 1 for word in words)]
    longest, dotted = max(map(len, words)), {word for word in words if DOTS.search(word)}
    waiting: list[Span] = []
    dots_end = 0
    for end, after in cuts:
        last = text[max(0, end - _SURE) : end]
        start, place = end, every.rfind(last) if len(last) == _SURE else -1
        while place >= 0:
            number = bisect_right(firsts, place) - 1
            first, word = firsts[number], words[number]
            most = end if word in dotted else end - dots_end
            length = place - first + _SURE
            fits = length <= most and text.endswith(word[:length], 0, end)
            start = min(start, end - length) if fits else start
            place = every.rfind(last, 0, first if fits else first + min(most, length - 1))
        while waiting and waiting[-1][0] >= start:
            waiting.pop()
        waiting += [(start, end)] if start < end else []
        while waiting and waiting[0][1] < end - longest:
            yield waiting.pop(0)
        dots_end = max(dots_end, after) if after > end else dots_end
    yield from waiting


def apart(spans: Iterable[Span]) -> Iterator[Span]:
    """Spans in the order of their starts, with those that overlap made one."""
    low = high = 0
    for start, end in spans:
        if start < high:
            high = max(high, end)
            continue
        if low < high:
            yield low, high
        low, high = start, end
    if low < high:
        yield low, high


def replaced(text: str, spans: Iterable[Span], mask: str) -> str:
    """The text with the mask in place of each span, once in each line of it; the ends of lines stay.

    Without a span it is the very same text.
    """
    clean, done = io.StringIO(), 0
    for low, high in apart(spans):
        clean.write(text[done:low])
        for line in _LINE_WITH_END.finditer(text, low, high):
            clean.write(mask + (line[1] or ""))
        done = high
    if not done:
        return text
    clean.write(text[done:])
    return clean.getvalue()
