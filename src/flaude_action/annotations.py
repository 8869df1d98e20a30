"""What an annotation says: the cause, what it usually means, what to do, and the lines that show it. Pure.

GitHub shows an annotation as plain text and cuts it at 4096 UTF-16 units, so what must be read comes first
and log lines fill what is left. Printing is `report`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flaude_action.catalog import CATALOG
from flaude_action.untrusted import cut, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MESSAGE_CHARS = 4000
"""A little less than GitHub's limit: the runner may still replace secrets of other steps."""
LINE_CHARS = 400
FINDINGS = 9
_NAME_CHARS = 300
_MESSAGE_CHARS = 500


@dataclass(frozen=True)
class Finding:
    """A place in the repository that a command complained about. `message` is untrusted."""

    file: str
    line: int
    column: int | None
    message: str


def error_message(error: Mapping[str, Any], line: str = "", lines: Sequence[str] = ()) -> str:
    """The text of a failure's annotation, from its JSON form.

    `line` is the one line that explains it best, `lines` the last of the failed work's log; both are
    untrusted text, redacted, and optional.
    """
    kind = CATALOG[error["type"]]
    told = f"{error['message']} {error['details']}".strip()
    usual = f"Usually: {kind.usual}" if kind.usual else ""
    hint = kind.advice(error["hint"], error["retryable"])
    more = f"More: {kind.url}\nReference: {error['ref']}"
    said = f"In its own words: {one_line(line, LINE_CHARS)}" if line.strip() else ""
    text = "\n".join(filter(None, (told, usual, hint, more, said)))
    room = MESSAGE_CHARS - utf16_units(text) - len("\n\nLast lines of the log:")
    shown = _that_fit(lines, room)
    return "\n".join([text, "", "Last lines of the log:", *shown]) if shown else text


def warning_message(type: str, details: str, hint: str) -> str:  # noqa: A002 - the catalog's word
    """The text of a warning: what is wrong without deciding, and what to do about it."""
    kind = CATALOG[type]
    told = " ".join(filter(None, (kind.message, details)))
    return f"{told}\nWhat to do: {hint}\nMore: {kind.url}"


def _that_fit(lines: Sequence[str], room: int) -> list[str]:
    """As many of the last lines as there is room for, in order."""
    shown: list[str] = []
    for line in reversed(lines):
        line = cut(line.replace("##[", "##\\["), LINE_CHARS)
        room -= utf16_units(line) + 1
        if room < 0:
            break
        shown.insert(0, line)
    return shown


def utf16_units(text: str) -> int:
    """How long the text is as GitHub counts: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fitting(text: str, limit: int = MESSAGE_CHARS) -> str:
    """The text, cut where GitHub would count more than `limit`."""
    if utf16_units(text) <= limit:
        return text
    data = text.encode("utf-16-le", "surrogatepass")[: 2 * (limit - 1)]
    return data.decode("utf-16-le", "ignore") + "…"


def read_findings(document: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The findings of a guest's result document; what is not exactly one is left out."""
    rows = document.get("findings")
    found = map(_finding, rows if isinstance(rows, list) else ())
    return tuple(one for one in found if one is not None)[:FINDINGS]


def _finding(row: object) -> Finding | None:
    if not isinstance(row, dict):
        return None
    file, line, column = row.get("file"), row.get("line"), row.get("column")
    message = one_line(str(row.get("message") or ""), _MESSAGE_CHARS)
    if not isinstance(file, str) or not _is_inside(file) or not _is_count(line) or not message:
        return None
    return Finding(file, int(str(line)), int(str(column)) if _is_count(column) else None, message)


def _is_inside(name: str) -> bool:
    """A plain relative path: no way up, nothing hidden in it, nothing of git's own."""
    parts = name.split("/")
    plain = name.isprintable() and len(name) <= _NAME_CHARS and not re.search(r"##\[|::|\\", name)
    return plain and all(part.lower() not in ("", ".", "..", ".git") for part in parts)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10_000_000
