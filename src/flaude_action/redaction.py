"""Takes known secrets out of text for the places that GitHub does not mask: files, outputs, the summary.

The step log is masked by the runner itself once `report` has told it the secrets; the forms a secret can take
are the runner's own list (base64 at three offsets, URL, JSON) and a few more. Unlike the runner, this also
finds a secret that a terminal, a tool or base64 has wrapped over the ends of lines, that has invisible
characters in it (they go where text is shown), or that was cut with the line it stood in.
https://github.com/actions/runner/blob/main/src/Runner.Common/HostContext.cs
"""

from __future__ import annotations

import base64
import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from flaude_action.untrusted import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"
SHORTEST = 4
"""Shorter secrets are left alone: taking every `a` out of a log hides nothing and ruins it."""
SHORTEST_FORM = 8
"""Encoded forms, beginnings, and what is looked for over the ends of lines, are at least this long."""
_PERCENT = re.compile("%[0-9A-F]{2}")
_PADDING = {0: 0, 1: 2, 2: 3}  # leading base64 characters that also hold bits of what stands before
_MARGINS = "|!>"  # what our own renderings put before a line
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_ESCAPED_SPACE = re.compile(r"\\[nrt]")
_CUT = re.compile(r"\s*(?:$|…|\.\.\.)")
_ESCAPED_CHAR = re.compile(r"\\u([0-9A-Fa-f]{4})")


class Redactor:
    """Knows the secrets and every form of them; `add` may be called at any time.

    What is looked for first is the bare form in the bare text: fast, and it finds everything but short forms.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._all = self._short = self._wrapped = _any_of(())
        self._bare: list[str] = []
        self._heads: set[str] = set()
        self._longest = 1
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        for secret in secrets:
            for part in {secret, visible(secret), *secret.splitlines(), *visible(secret).splitlines()}:
                if len(part.strip()) >= SHORTEST:
                    self._forms |= forms(part.strip())
        bare = {form: bared(form) for form in self._forms}
        self._bare = sorted({form for form in bare.values() if len(form) >= SHORTEST_FORM})
        self._heads = {form[:SHORTEST_FORM] for form in self._bare}
        self._longest = max(map(len, self._bare), default=1)
        self._all = _any_of(self._forms)
        self._short = _any_of(form for form in self._forms if len(bare[form]) < SHORTEST_FORM)
        self._wrapped = _any_of(self._bare)

    def redact(self, text: str) -> str:
        """The text without secrets, also those with line ends, white space or our margins in them.

        What cannot be seen stays (emoji are made of it), unless a secret is put together when it goes.
        """
        text = self._without_cut(self._without("", text))
        shown = visible(text)
        return self._without_cut(self._without("", shown)) if shown != text and self._finds(shown) else text

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
        found = text != plain and self._finds(text)
        if not found and not self._begins_in(bared(text)):
            return plain
        try:
            document = json.loads(line)
            clean = self.redact_json(document)
        except (ValueError, RecursionError):
            return MASK + "\n" if found else plain
        return plain if clean == document else json.dumps(clean, ensure_ascii=False) + "\n"

    def redact_page(self, lines: list[str], before: str) -> tuple[list[str], str]:
        """Lines of a longer text, and what to give as `before` with the lines that follow.

        What at the end may be the first part of a secret is hidden before its second part has come.
        """
        if not self._forms:
            return lines, ""
        text = "\n".join(lines)
        bare = before + bared(text)
        if self._begins_in(bare):
            text = self._without(before, text, bare)
            if begun := self._begun(bare):
                end = len(bared(text))
                text = _masked(text, [(end - begun, end)])
            text = self._without_cut(text)
        else:
            text = self._short.sub(MASK, text)
        return text.split("\n"), bare[-self._longest :]

    def _finds(self, text: str) -> bool:
        return self._holds(bared(text)) or self._short.search(text) is not None

    def _begins_in(self, bare: str) -> bool:
        """Whether there may be anything of a secret: what is asked of every text, so it must be quick."""
        return any(head in bare for head in self._heads)

    def _holds(self, bare: str) -> bool:
        return any(form in bare for form in self._bare)

    def _without(self, before: str, text: str, bare: str | None = None) -> str:
        """`text` without secrets, also one that began in `before`; `bare` is what is bare of the two."""
        if not self._holds(before + bared(text) if bare is None else bare):
            return self._short.sub(MASK, text)
        text = self._all.sub(MASK, text)
        spans = [match.span() for match in self._wrapped.finditer(before + bared(text))]
        return _masked(text, [(start - len(before), end - len(before)) for start, end in spans])

    def _without_cut(self, text: str) -> str:
        """`text` without beginnings of secrets where a line was cut: at its end, or before dots."""
        forms = [form for form in self._forms if len(form) > SHORTEST_FORM and form[:SHORTEST_FORM] in text]
        if not forms:
            return text
        return "".join(_line_without_cut(line, forms) for line in text.splitlines(keepends=True))

    def _begun(self, bare: str) -> int:
        """How many characters at the end of a bare text may be the beginning of a secret."""
        end = bare[-self._longest :]
        for form in self._bare:
            start = end.rfind(form[:SHORTEST_FORM])
            if start >= 0 and form.startswith(end[start:]):
                return len(end) - start
        return 0


def bared(text: str) -> str:
    """The text without white space and without what stands in margins: the same however it is wrapped."""
    bare = "".join(text.split())
    for mark in _MARGINS:
        bare = bare.replace(mark, "")
    return bare


def forms(secret: str) -> set[str]:
    """The secret as it is and as base64 (also URL-safe), hex, URLs, JSON, Python and HTML write it."""
    data = secret.encode("utf-8", "surrogatepass")
    text = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]
    html = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    url = quote(data, safe=""), quote(data), quote_plus(data)
    lower = (_PERCENT.sub(lambda code: code.group().lower(), form) for form in url)
    long = (form for form in _base64_forms(data) if len(form) >= SHORTEST_FORM)
    units = secret.encode("utf-16-be", "surrogatepass")
    digits = data.hex(), "%" + data.hex("%"), "\\" + units.hex("\\", 2)
    hexadecimal = (form.replace("\\", "\\u") for each in digits for form in (each, each.upper()))
    return {secret, *text, html, html.replace('"', "&quot;"), *url, *lower, *long, *hexadecimal}


def _base64_forms(data: bytes) -> Iterable[str]:
    for offset, skipped in _PADDING.items():
        whole = (offset + len(data)) // 3 * 4  # the last, partial group also holds what comes after
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * offset + data).decode("ascii")[skipped:whole]


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Longest first, so that of a secret inside a longer one nothing is left; without words nothing fits."""
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


def _line_without_cut(line: str, forms: Iterable[str]) -> str:
    for form in forms:
        start = line.find(form[:SHORTEST_FORM])
        while start >= 0:
            same = takewhile(lambda pair: pair[0] == pair[1], zip(line[start:], form, strict=False))
            end = start + len(list(same))
            if _CUT.match(line, end):
                line = line[:start] + MASK + line[end:]
            start = line.find(form[:SHORTEST_FORM], start + 1)
    return line


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with spans of its bare form hidden. The ends of lines stay."""
    if not spans:
        return text
    kept = [at for at, char in enumerate(text) if not char.isspace() and char not in _MARGINS]
    pieces, done = [], 0
    for low, high in spans:
        places = kept[max(low, 0) : max(high, 0)]
        if not places:
            continue
        first, last = places[0], places[-1] + 1
        pieces += [text[done:first], _hidden(text[first:last])]
        done = last
    return "".join(pieces) + text[done:]


def _hidden(text: str) -> str:
    """Every line of the text as one mask, with its end."""
    return "".join(MASK + line[len(line.rstrip(_LINE_ENDS)) :] for line in text.splitlines(keepends=True))
