"""The forms a secret can take in a text: the runner's own list (base64 at three offsets, URL, JSON) and more.

What is looked for where, and how it is hidden, is `redaction`'s; what is a secret, its owner's.
https://github.com/actions/runner/blob/main/src/Runner.Common/HostContext.cs
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from flaude_action.untrusted import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORTEST = 4
"""Shorter secrets are left alone: taking every `a` out of a log hides nothing and ruins it."""
SHORTEST_FORM = 8
"""Encoded forms, beginnings, and what is looked for over the ends of lines, are at least this long."""
LONGEST_WORD = 16
"""Fewer letters, and nothing else, are a word: that it stands somewhere proves nothing."""
PIECE = 2048
"""A longer form is known by its pieces: each is secret, and what is searched need not hold all of them."""

_PERCENT = re.compile("%[0-9A-F]{2}")
_PADDING = {0: 0, 1: 2, 2: 3}  # leading base64 characters that also hold bits of what stands before


def parts_of(secret: str, *, lines: bool) -> set[str]:
    """All that is looked for of a secret: its forms, in pieces; with `lines` also those of each line."""
    texts = {secret, visible(secret)}
    if lines:
        texts |= {line for text in texts for line in text.splitlines()}
    long = (text.strip() for text in texts if len(text.strip()) >= SHORTEST)
    return {piece for text in long for form in forms(text) for piece in pieces(form)}


def pieces(form: str) -> Iterator[str]:
    """The form itself, or what it is made of, each at least PIECE and less than twice that long."""
    count = max(1, len(form) // PIECE)
    for number in range(count):
        yield form[number * PIECE : (number + 1) * PIECE if number + 1 < count else None]


def is_word(form: str) -> bool:
    """Whether it is letters alone: `postgres` is a password in many a workflow, and a word in many a file."""
    return len(form) < LONGEST_WORD and form.isalpha()


def forms(secret: str) -> set[str]:
    """The secret as it is and as base64 (also URL-safe), hex, URLs, JSON, Python and HTML write it."""
    data = secret.encode("utf-8", "surrogatepass")
    text = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]
    html = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    url = quote(data, safe=""), quote(data), quote_plus(data)
    lower = (_PERCENT.sub(lambda code: code.group().lower(), form) for form in url)
    long = (form for form in _base64_forms(data) if len(form) >= SHORTEST_FORM)
    units = secret.encode("utf-16-be", "surrogatepass")
    digits = data.hex(), data.hex(":"), "%" + data.hex("%"), "\\" + units.hex("\\", 2)
    hexadecimal = (form.replace("\\", "\\u") for each in digits for form in (each, each.upper()))
    codes = [format(code, "02x") for code in data]
    escaped = "".join(f"\\x{code}" for code in codes), "".join(f"\\x{code.upper()}" for code in codes)
    entities = "".join(f"&#{ord(char)};" for char in secret), "".join(f"&#x{ord(char):x};" for char in secret)
    return {
        secret,
        *text,
        *escaped,
        *entities,
        html,
        html.replace('"', "&quot;"),
        *url,
        *lower,
        *long,
        *hexadecimal,
    }


def _base64_forms(data: bytes) -> Iterable[str]:
    for offset, skipped in _PADDING.items():
        whole = (offset + len(data)) // 3 * 4  # the last, partial group also holds what comes after
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * offset + data).decode("ascii")[skipped:whole]
