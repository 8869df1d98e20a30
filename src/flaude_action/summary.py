"""The step summary: `report.json`'s content as GitHub Markdown in which untrusted text stays text. Pure.

It starts from the redacted document, not from the report: a secret that has been escaped for Markdown would
no longer be recognised. https://github.github.com/gfm/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flaude_action.catalog import CATALOG
from flaude_action.untrusted import one_line, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RESULT_CHARS = 20_000
TAIL_CHARS = 20_000
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>&$:-])")


def summary(told: Mapping[str, Any]) -> str:
    """The whole summary of one step from `RunReport.document()`, its secrets already taken out."""
    blocks = [_headline(told), *map(_problem, told["errors"]), _line(told["line"]), _facts(told)]
    blocks += [_result(told["result"]), _list("Warnings", map(_warning, told["warnings"]))]
    blocks += [_list("Notes", map(inline, told["notices"])), _tail(told["log_tail"])]
    return "\n\n".join(block for block in blocks if block) + "\n"


def inline(text: str, limit: int = 500) -> str:
    """Untrusted text inside a paragraph or a table cell: no markup, no link, no mention comes out of it."""
    escaped = _MARKDOWN.sub(r"\\\1", one_line(text, limit))
    return escaped.replace("@", "@\u200b").replace("www.", "www\u200b.")


def fenced(text: str) -> str:
    """Untrusted text as a code block whose fence is longer than any run of back-ticks in it."""
    body = "\n".join(visible(text).splitlines())
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def _headline(told: Mapping[str, Any]) -> str:
    title = f". {CATALOG[told['errors'][0]['type']].title}" if told["errors"] else ""
    return f"### Claude Code on Fly.io: {told['conclusion']}{title}"


def _problem(error: Mapping[str, Any]) -> str:
    what = inline(f"{error['message']} {error['details']}")
    return f"{what}\n\n**What to do:** {inline(error['hint'])} (`{error['type']}`, `{error['ref']}`)"


def _line(line: str) -> str:
    return fenced(one_line(line, 1000)) if line else ""


def _facts(told: Mapping[str, Any]) -> str:
    seconds = ", ".join(f"{phase} {spent:.1f} s" for phase, spent in told["phase_seconds"].items())
    rows = {
        "Exit code": "" if told["exit_code"] is None else f"{told['exit_code']} ({told['exit_code_source']})",
        "Turns": "" if told["num_turns"] is None else str(told["num_turns"]),
        "Cost of the model": "" if told["cost_usd"] is None else f"${told['cost_usd']:.4f}",
        "Machine": _joined(told, "machine_id", "region", "cleanup"),
        "Image": told["image"],
        "Time": seconds,
        "Changed files": str(len(told["changed_files"])) if told["changed_files"] else "",
        "Files": _joined(told, "patch_file", "execution_file", "log_file", "report_file"),
    }
    cells = [f"| {name} | {inline(value)} |" for name, value in rows.items() if value]
    return "\n".join(["| | |", "| --- | --- |", *cells]) if cells else ""


def _joined(told: Mapping[str, Any], *names: str) -> str:
    return " ".join(told[name] for name in names if told[name])


def _result(result: str) -> str:
    if not result.strip():
        return ""
    more = "" if len(result) <= RESULT_CHARS else f"\n[cut: {len(result)} characters in all]"
    return _folded("Claude Code's answer", result[:RESULT_CHARS] + more)


def _tail(tail: str) -> str:
    return _folded("The log's last lines", tail[-TAIL_CHARS:]) if tail else ""


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{fenced(text)}\n\n</details>"


def _warning(warning: Mapping[str, str]) -> str:
    kind = warning["type"]
    return f"{inline(CATALOG[kind].message)} {inline(warning['details'])} (`{kind}`)"


def _list(title: str, items: Iterable[str]) -> str:
    lines = [f"- {item}" for item in items]
    return "\n".join([f"**{title}**", "", *lines]) if lines else ""
