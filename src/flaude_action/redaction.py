"""Takes known secrets out of text for the places that GitHub does not mask: files, outputs, the summary.

The step log is masked by the runner itself once `report` has told it the secrets; the forms a secret can take
are the runner's own list (base64 at three offsets, URL, JSON) and a few more.
https://github.com/actions/runner/blob/main/src/Runner.Common/HostContext.cs
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"
SHORTEST = 4
"""Shorter secrets are left alone: taking every `a` out of a log hides nothing and ruins it."""
_SHORTEST_FORM = 8
_PERCENT = re.compile("%[0-9A-F]{2}")
_PADDING = {0: 0, 1: 2, 2: 3}  # leading base64 characters that also hold bits of what stands before


class Redactor:
    """Knows the secrets and every form of them; `add` may be called at any time."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        for secret in secrets:
            for part in {secret, *secret.splitlines()}:
                if len(part.strip()) >= SHORTEST:
                    self._forms |= forms(part.strip())
        if self._forms:  # longest first, so that a secret inside a longer one leaves nothing behind
            ordered = sorted(self._forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, ordered)))

    def redact(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def redact_json(self, document: Any) -> Any:
        """A copy of a JSON value with every text in it redacted, the names of members included."""
        if isinstance(document, str):
            return self.redact(document)
        if isinstance(document, dict):
            return {self.redact(str(name)): self.redact_json(value) for name, value in document.items()}
        if isinstance(document, list | tuple):
            return [self.redact_json(value) for value in document]
        return document

    def redact_lines(self, lines: list[str]) -> list[str]:
        """Redact a few lines, also secrets that a terminal or a tool wrapped over their ends.

        Costs a copy of everything, so it is for tails, not for whole logs. Keeps the number of lines.
        """
        if self._pattern is None:
            return list(lines)
        spans = _wrapped_spans(self._pattern, lines)
        return [self.redact(_blank(line, spans.get(index, []))) for index, line in enumerate(lines)]


def forms(secret: str) -> set[str]:
    """The secret as it is and as base64 (also URL-safe), URLs, JSON, Python and HTML write it."""
    data = secret.encode("utf-8", "surrogatepass")
    text = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]
    html = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    url = quote(data, safe=""), quote(data), quote_plus(data)
    lower = (_PERCENT.sub(lambda code: code.group().lower(), form) for form in url)
    long = (form for form in _base64_forms(data) if len(form) >= _SHORTEST_FORM)
    return {secret, *text, html, html.replace('"', "&quot;"), *url, *lower, *long}


def _base64_forms(data: bytes) -> Iterable[str]:
    for offset, skipped in _PADDING.items():
        whole = (offset + len(data)) // 3 * 4  # the last, partial group also holds what comes after
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * offset + data).decode("ascii")[skipped:whole]


def _wrapped_spans(pattern: re.Pattern[str], lines: list[str]) -> dict[int, list[tuple[int, int]]]:
    """Where secrets lie when the lines are read as one, per line."""
    starts, total = [], 0
    for line in lines:
        starts.append(total)
        total += len(line)
    found: dict[int, list[tuple[int, int]]] = {}
    for match in pattern.finditer("".join(lines)):
        for index, (start, line) in enumerate(zip(starts, lines, strict=True)):
            low, high = max(match.start() - start, 0), min(match.end() - start, len(line))
            if low < high:
                found.setdefault(index, []).append((low, high))
    return found


def _blank(line: str, spans: list[tuple[int, int]]) -> str:
    for low, high in sorted(spans, reverse=True):
        line = line[:low] + MASK + line[high:]
    return line
