"""The job's secrets taken out of text, and the one place where what others said is cut: hide, then cut.

The other way round most of a secret could be left at the end, and nobody would know it for one any more.
"""

from __future__ import annotations

import json
from typing import Iterable, Iterator

SECRET_MIN_CHARS = 8
MASK = "***"


class Secrecy:
    """Knows what to hide. Words too short to be secrets would only make everything unreadable."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        # Longest first, so that of a secret inside a longer one nothing is left.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def hide(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def cut(self, text: str, chars: int) -> str:
        """At most so many characters, without secrets."""
        return self.hide(text)[:chars]

    def cut_bytes(self, text: str, size: int) -> str:
        """As much as fits in so many bytes of UTF-8, without secrets."""
        return self.hide(text).encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


NOTHING = Secrecy()


def _forms(secret: str) -> Iterator[str]:
    """Its lines, because text is shown by the line, each as it is and as JSON has it."""
    for line in secret.splitlines():
        if len(line) >= SECRET_MIN_CHARS:
            yield from (line, json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1])
