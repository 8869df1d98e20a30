"""Untrusted text in GitHub Markdown, where it stays text: no markup, no link, no mention comes out of it.

What a summary says is `summary`'s; taking secrets out is `redaction`'s and must have happened before, because
an escaped secret is not recognised any more. https://github.github.com/gfm/
"""

from __future__ import annotations

import re

from flaude_action.catalog import CATALOG
from flaude_action.untrusted import one_line, visible

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>&$:-])")
_OUR_LINKS = sorted(
    {url for kind in CATALOG.values() for url in re.findall(r"https://[\w./-]*\w", kind.hint)}
)
_LINK = "|".join(map(re.escape, reversed(_OUR_LINKS)))
_SPANS = re.compile(rf"(`[^`]+`|(?<!\S)(?:{_LINK})(?=[\s.,;]|$))")
_NUMBERED = re.compile(r"^(\d+)\.")


def inline(text: str, limit: int = 500) -> str:
    """Text inside a paragraph or a table cell."""
    return _escaped(one_line(text, limit))


def prose(text: str, limit: int = 1000) -> str:
    """A sentence of ours that may quote something: words between back-ticks are shown as code, and the links
    that our own hints hold are links."""
    line = one_line(text, limit)
    if "``" in line:  # not of our making
        return _escaped(line)
    first, *parts = _SPANS.split(line)
    return _escaped(first) + "".join(
        _escaped(part) if index % 2 else _span(part) for index, part in enumerate(parts)
    )


def _span(part: str) -> str:
    return part if part.startswith("`") else f"<{part}>"


def code(text: str, *, cell: bool = False) -> str:
    """Text as a code span whose fence is longer than any run of back-ticks in it; `cell` for tables.

    A table is cut at its bars before code is looked for, and parsers differ on bars behind backslashes.
    """
    line = one_line(text, 300) or " "
    if cell and "|" in line:
        return _escaped(line)
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(text: str) -> str:
    """Text as a code block whose fence is longer than any run of back-ticks in it."""
    body = "\n".join(visible(text).splitlines())
    fence = "`" * max(3, _longest_run(body) + 1)
    return f"{fence}text\n{body}\n{fence}"


def _escaped(line: str) -> str:
    """Backslashes do not keep every parser from making links and mentions: an invisible space does."""
    escaped = _NUMBERED.sub(r"\1\\.", _MARKDOWN.sub(r"\\\1", line))
    return escaped.replace("@", "@\u200b").replace("www.", "www\u200b.").replace("//", "/\u200b/")


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
