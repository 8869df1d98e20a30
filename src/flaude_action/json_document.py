"""JSON of others, read within bounds: no more values, digits or depth than any document of ours has.

How many bytes may come is decided where they are read: `http_body`, `guest_work`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARKS_MAX: Final = 50_000
"""Commas and opening brackets, so about as many values. Each can cost 200 bytes of memory, each pair of
`[],` takes three bytes to send: without this, 8 MiB of them become 280 MB. And while Python reads them it
does nothing else: for 50 ms at most."""
DIGITS_MAX: Final = 500
"""Of a whole number; a thousand of 4,000 digits would take as long as all the rest."""

_PIECE = 64 * 1024


def json_of(body: bytes | str, *, marks: int = MARKS_MAX, fraction: Callable[[str], Any] = str) -> Any:
    """The document; None when it is none, or has more of anything than we take.

    `fraction` makes a value of a number with a point or an exponent: as text it stays exact however it is
    spelt. Never raises.
    """
    try:
        text = body if isinstance(body, str) else body.decode("utf-8")
        if _marks(text) > marks and _more_between_texts(text, marks):
            return None
        return json.loads(text, parse_float=fraction, parse_int=_whole, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return None


def ends_early(text: str) -> bool:
    """Whether it is the beginning of an object, and nothing but its end is missing.

    One that was spoilt within has its end still, and one that is cut may end in any bracket.
    """
    opened = sum(
        part.count("{") + part.count("[") - part.count("}") - part.count("]")
        for part in _between_texts(_unescaped(text))
    )
    return text.startswith("{") and opened > 0


def _marks(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")


def _more_between_texts(document: str, most: int) -> bool:
    """Whether there are more that are not part of a text; or more texts than can stand between so many."""
    bare = _unescaped(document)
    if bare.count('"') > 4 * (most + 1):  # a mark is followed by two texts, a name and a value
        return True
    marks = 0
    for part in _between_texts(bare):
        marks += _marks(part)
        if marks > most:
            return True
    return False


def _unescaped(document: str) -> str:
    """Now each quote begins or ends a text."""
    return document.replace("\\\\", "").replace('\\"', "")


def _between_texts(bare: str) -> Iterator[str]:
    """What is not part of a text; what follows the first error of a document does not matter."""
    inside = 0
    for start in range(0, len(bare), _PIECE):
        parts = bare[start : start + _PIECE].split('"')
        yield "".join(parts[inside::2])
        inside ^= (len(parts) - 1) & 1


def _whole(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise ValueError(digits[:DIGITS_MAX])
    return int(digits)


def no_constant(name: str) -> None:
    """NaN and the infinities, which JSON does not have: https://www.rfc-editor.org/rfc/rfc8259#section-6"""
    raise ValueError(name)
