"""Takes known secrets out of text for the places that GitHub does not mask: files, outputs, the summary.

The step log is masked by the runner itself once `report` has told it the secrets. Unlike the runner, this
also finds a secret that a terminal, a tool or base64 has wrapped over the ends of lines, that has invisible
characters in it (they go where text is shown), or that was cut with the line it stood in. The forms that a
secret can take are in `secret_forms`.

Whatever the text is, the time is in proportion to its length and the memory a few times that: a machine can
repeat for ever what is public of a token. Finding stretches of text and replacing them is `spans`'.
"""

from __future__ import annotations

import json
import re
from heapq import merge
from typing import TYPE_CHECKING, Any

from flaude_action.json_document import json_of
from flaude_action.secret_forms import SHORTEST_FORM, is_word, parts_of
from flaude_action.spans import DOTS, LINE, apart, beginnings, places, replaced
from flaude_action.untrusted import TEXT_CHARS, visible
from flaude_action.words import Heads, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flaude_action.spans import Span

MASK = "***"
MANY_WORDS = 32
"""From so many on, what stands in the text is looked up among them, and not each of them in the text: fewer
are found three times as fast one by one."""
_MARGINS = "|!>"  # what our own renderings put before a line
_KEPT = re.compile(rf"[^\s{_MARGINS}]+")
_ESCAPED_SPACE = re.compile(r"\\[nrt]")
_ESCAPED_CHAR = re.compile(r"\\u([0-9A-Fa-f]{4})")


class Redactor:
    """Knows the secrets and every form of them; `add` may be called at any time.

    What is looked for first is how each form begins, in the bare text: fast, and mostly it is not there.
    Without `lines` a secret of several is looked for as a whole only.
    """

    def __init__(self, secrets: Iterable[str] = (), *, lines: bool = True) -> None:
        self._lines = lines
        self._forms: set[str] = set()
        self._short: list[str] = []
        self._bare: dict[str, list[str]] = {}
        self._heads = Heads()
        self._shortest = self._longest = SHORTEST_FORM
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        parts = {part for secret in secrets for part in parts_of(secret, lines=self._lines)} - self._forms
        self._forms |= parts
        for form in sorted(parts):
            bare = bared(form)
            if len(bare) < SHORTEST_FORM:
                self._short.append(form)
                self._shortest = min(self._shortest, len(form))
                continue
            if bare not in self._bare:
                self._heads.add(bare)
                self._longest = max(self._longest, len(bare))
            self._bare.setdefault(bare, []).append(form)

    def redact(self, text: str) -> str:
        """The text without secrets, also those with line ends, white space or our margins in them.

        What cannot be seen stays (emoji are made of it), unless a secret is put together when it goes.
        """
        if len(text) < self._shortest or not self._forms:
            return text
        text = self._clean(text)
        shown = visible(text)
        clean = self._clean(shown) if shown != text else shown
        return clean if clean != shown else text

    def redact_json(self, document: Any) -> Any:
        """A copy of a JSON value with every text in it redacted, the names of members included."""
        if isinstance(document, str):
            return self.redact(document)
        if isinstance(document, dict):
            return {self.redact(str(name)): self.redact_json(value) for name, value in document.items()}
        if isinstance(document, list | tuple):
            return [self.redact_json(value) for value in document]
        return document

    def redact_json_line(self, line: str) -> str:
        """One line of JSON. In its texts a line's end is written `\\n`, which would hide a wrapped secret."""
        plain = self.redact(line)
        text = _ESCAPED_SPACE.sub("", plain)
        if "\\u" in text:
            text = visible(_ESCAPED_CHAR.sub(lambda code: chr(int(code[1], 16)), text))
        bare = bared(text)
        begun = self._heads.begun_in(bare)
        found = text != plain and (
            any(form in bare for form in begun) or any(form in text for form in self._short)
        )
        if not found and not begun:
            return plain
        document = json_of(line, fraction=float)
        if document is None:
            return MASK + "\n" if found else plain
        clean = self.redact_json(document)
        return plain if clean == document else json.dumps(clean, ensure_ascii=False) + "\n"

    def redact_page(self, lines: list[str], before: str) -> tuple[list[str], str]:
        """Lines of a longer text, and what to give as `before` with the lines that follow.

        What at the end may be the first part of a secret is hidden before its second part has come.
        """
        if not self._forms:
            return lines, ""
        text = "\n".join(lines)
        bare = before + bared(text)
        clean = self._clean(text, before, self._heads.begun_in(bare))
        return lines if clean is text else clean.split("\n"), bare[-self._longest :]

    def after(self, before: str, unseen: str) -> str:
        """The same `before` once more text has come that is shown nowhere."""
        return (before + bared(visible(unseen)))[-self._longest :]

    def found_in(self, text: str) -> bool:
        """Whether a secret stands in the text in any form, also wrapped over the ends of lines, or with
        invisible characters in it.

        This is proof, not hiding: a form shorter than 8 characters, or one that is a plain word, stands in
        many a text by itself and counts for nothing here, though `redact` hides it.
        """
        looked_at = searched(text)
        return any(
            form in each for each in looked_at for form in self._heads.begun_in(each) if not is_word(form)
        )

    def _clean(self, text: str, before: str = "", begun: list[str] | None = None) -> str:
        """`text` without secrets, also one that began in `before`; the very same when there is none.

        As they are written they go first: what stands at the edges of a form may not be in its bare form.
        """
        if begun is None:
            begun = self._heads.begun_in(before + bared(text))
        if len(begun) >= MANY_WORDS:
            return self._clean_of_many(text, before, begun)
        written = [form for bare in begun for form in self._bare[bare]]
        text = replaced(text, merge(*(places(text, form) for form in (*self._short, *written))), MASK)
        if not begun:
            return text
        bare = before + bared(text)
        whole = (places(bare, form) for form in begun)
        spans = apart(merge(*whole, beginnings(bare, _cuts(text, bare, len(before)), begun)))
        return replaced(text, _unbared(text, spans, len(before)), MASK)

    def _clean_of_many(self, text: str, before: str, begun: list[str]) -> str:
        """The same, in a time that hardly depends on how many there are."""
        words = Words(begun)
        written = [form for bare in sorted(words.whole(before + bared(text))) for form in self._bare[bare]]
        text = replaced(text, merge(*(places(text, form) for form in (*self._short, *written))), MASK)
        bare = before + bared(text)
        spans = apart(words.spans(bare, _cuts(text, bare, len(before))))
        return replaced(text, _unbared(text, spans, len(before)), MASK)


def bared(text: str) -> str:
    """The text without white space and without what stands in margins: the same however it is wrapped."""
    if len(text) > TEXT_CHARS:  # or the list of its words would be many times as large as itself
        return "".join(bared(text[at : at + TEXT_CHARS]) for at in range(0, len(text), TEXT_CHARS))
    bare = "".join(text.split())
    for mark in _MARGINS:
        bare = bare.replace(mark, "")
    return bare


def searched(text: str) -> list[str]:
    """The text bare of what may stand within a secret, and of line ends as JSON and programs write them."""
    shown = visible(text)
    return [bared(shown)] + ([bared(_ESCAPED_SPACE.sub("", shown))] if "\\" in shown else [])


def _cuts(text: str, bare: str, at: int) -> Iterator[Span]:
    """Where in its bare form, in which it begins `at`, the text may have been cut: ends of lines, and dots.

    With each goes the place after the dots.
    """

    def line_ends(place: int) -> Iterator[Span]:
        for line in LINE.finditer(text):
            place += len(bared(line.group()))
            yield place, place

    return merge(line_ends(at), (dots.span() for dots in DOTS.finditer(bare)))


def _unbared(text: str, spans: Iterable[Span], at: int) -> Iterator[Span]:
    """Spans of a text's bare form, in which it begins `at`, as spans of the text itself."""
    pieces = (piece.span() for piece in _KEPT.finditer(text))
    first = last = 0  # of the piece at hand, which is bare from `at` on
    for low, high in ((max(low, at), high) for low, high in spans if high > at):
        while at + last - first <= low:
            at += last - first
            first, last = next(pieces)
        start = first + low - at
        while at + last - first < high:
            at += last - first
            first, last = next(pieces)
        yield start, first + high - at
