"""Whether what was found in a hunk stands in what it changes: what is around that is in the base's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flaude_action.spans import Span


def in_changes(data: bytes, context: Sequence[Span], found: Callable[[bytes], bool]) -> bool:
    """Whether `found` finds something in `data` that is not in its `context` alone.

    What begins in a context line and ends in an added one is found: of context that holds a whole secret as
    much is kept as is without one, from its beginning and from its end.
    """
    return any(map(found, _between(data, context, found)))


def _between(data: bytes, context: Sequence[Span], found: Callable[[bytes], bool]) -> Iterator[bytes]:
    """The stretches that lie between two secrets of the context."""
    start = 0
    for first, last in context:
        around = data[first:last]
        if found(around):
            yield data[start : first + _longest(around, found, last=False)]
            start = last - _longest(around, found, last=True)
    yield data[start:]


def _longest(data: bytes, found: Callable[[bytes], bool], *, last: bool) -> int:
    """How many of the first, or of the last, bytes hold no secret: all of them do."""
    low, high = 0, len(data)
    while high - low > 1:
        middle = (low + high) // 2
        part = data[-middle:] if last else data[:middle]
        low, high = (low, middle) if found(part) else (middle, high)
    return low
