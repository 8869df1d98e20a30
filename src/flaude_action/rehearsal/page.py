"""A rehearsal on the terminal: what a run's page would show, as plain text, coloured where welcome."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flaude_action.rehearsal.step import Ending

WIDTH = 100
_NAME_WIDTH = 22
_DETAILS = re.compile(r"<details><summary>(.*?)</summary>.*?</details>", re.DOTALL)
_ROW = re.compile(r"^\| (.*?) ?\| (.*?) ?\|$")
_FENCE = re.compile(r"`{3,}")
_LINK = re.compile(r"\[(?P<text>`[^`]+`|\w+)\]\(https://[^)]*\)|<(?P<bare>https://[^>]*)>")
_QUOTE = re.compile(r"^> ?(?:\[!\w+\])?")
_ESCAPED = re.compile(r"\\([^A-Za-z0-9\s])")
_BOLD, _DIM, _RED, _GREEN = "1", "2", "31", "32"


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def heading(text: str) -> None:
    say()
    say(_styled(f"━━ {text} ".ljust(WIDTH, "━"), _BOLD))


def log_line(line: str) -> None:
    """One line of the step's log, as it comes."""
    say(f"{_styled('│', _DIM)} {line}")


def show_ending(ending: Ending) -> None:
    """What is there after the step: annotations, outputs, the summary."""
    _part("Annotations")
    for each in ending.annotations:
        colour = _RED if each.level == "error" else _BOLD
        say(f"  {_styled(each.level, colour)}  {each.title}")
        _indented(each.message)
    if not ending.annotations:
        say("  none")
    _part("Outputs")
    filled = {name: value for name, value in ending.outputs.items() if value}
    widest = max(map(len, filled), default=0)
    for name, value in filled.items():
        say(f"  {name.ljust(widest)}  {_one_line(value, WIDTH - widest)}")
    if not ending.outputs:
        say("  none")
    empty = ", ".join(name for name, value in ending.outputs.items() if not value)
    if empty:
        say(_styled(f"  empty: {empty}", _DIM))
    _part("Step summary")
    _indented("\n".join(_plain(ending.summary)).rstrip() or "none")


def show_text(title: str, text: str) -> None:
    """A file or a program's answer, set in."""
    _part(title)
    _indented(text)


def verdict(good: bool, text: str) -> None:
    """One line that says whether something is as it must be."""
    say(f"{_styled('✓', _GREEN) if good else _styled('✗', _RED)} {text}")


def _one_line(value: str, width: int) -> str:
    first, *more = value.strip("\n").split("\n")
    cut = first if len(first) <= width else first[:width] + " …"
    return f"{cut}  (and {len(more)} more lines)" if more else cut


def _plain(markdown: str) -> list[str]:
    """Markdown as its reader sees it, as far as our summaries use it: what is folded stays folded."""
    text = _DETAILS.sub(r"\n▸ \1\n", markdown.strip())
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        if not fence and (opened := _FENCE.match(line)):
            fence = opened[0]
        elif fence:
            lines += [line] if line != fence else []
            fence = fence if line != fence else ""
        elif row := _ROW.match(line):
            name, value = (_seen(cell) for cell in row.groups())
            if name.strip("- "):
                lines.append(f"{name.ljust(_NAME_WIDTH)}{value}")
        elif _seen(line) or lines[-1:] != [""]:
            lines.append(_seen(line))
    return lines


def _seen(text: str) -> str:
    heading = text.startswith("#")
    plain = _LINK.sub(r"\g<text>\g<bare>", _QUOTE.sub("", text))
    plain = _ESCAPED.sub(r"\1", plain.lstrip("# ").replace("**", "").replace("`", ""))
    return _styled(plain, _BOLD) if heading else plain


def _part(title: str) -> None:
    say()
    say(_styled(title, _BOLD))


def _indented(text: str) -> None:
    for line in text.split("\n"):
        say(f"  {line}")


def _styled(text: str, code: str) -> str:
    # https://no-color.org
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{code}m{text}\033[0m"
