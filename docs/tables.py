"""Write docs/inputs.md and docs/failures.md from action.yml and the failure catalog: `make docs`."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flaude_action import OWNER
from flaude_action.catalog import CATALOG, WARNINGS, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 110


TURN = {
    "no": "nobody's: running it again will not help",
    "runner": "nobody's: run the job again as it is",
    "user": "yours: change something, then run the job again",
    "later": "nobody's: wait, then run the job again",
}


def inputs_page(action: dict[str, Any]) -> str:
    """The inputs as one commented step to copy from, the outputs as a table; both in action.yml's order."""
    outputs = [(f"`{name}`", _one_line(entry["description"])) for name, entry in action["outputs"].items()]
    return "\n".join([
        "# Inputs and outputs",
        "",
        "Made from `action.yml` by `make docs`.",
        "",
        "## Inputs",
        "",
        "Every input is text, and an empty one counts as not given.",
        "The values below are the defaults.",
        "",
        "```yaml",
        f"- uses: {OWNER}/flaude-action@v1",
        "  with:",
        *(line for name, entry in action["inputs"].items() for line in _input(name, entry)),
        "```",
        "",
        "## Outputs",
        "",
        "Set in every case, also after a failure and after cancellation; what is not known is empty.",
        "",
        *_table(("output", "meaning"), outputs),
        "",
    ])  # fmt: skip


def _input(name: str, entry: dict[str, Any]) -> list[str]:
    meaning = ("Required. " if entry.get("required") else "") + _one_line(entry["description"])
    comment = textwrap.wrap(meaning, WIDTH, initial_indent="    # ", subsequent_indent="    # ")
    return [*comment, f"    {name}: {json.dumps(entry.get('default', ''))}", ""]


def failures_page() -> str:
    """Every failure type: where it happens, whose turn it is, and what to do; each under its own anchor."""
    kinds = CATALOG.values()
    index = [
        (f"[`{kind.type}`](#{kind.type})", kind.title, "a warning" if _warns(kind) else f"`{kind.retryable}`")
        for kind in kinds
    ]
    return "\n".join([
        "# Failures",
        "",
        "Made from `flaude_action.catalog` by `make docs`.",
        "The id is the output `error_type` and never changes its meaning; the phase is `error_phase`.",
        "What is called a warning here never decides and is never `error_type`: the run may have succeeded.",
        "The output `retryable` says whose turn it is:",
        "",
        *(f"- `{word}`: {meaning}" for word, meaning in TURN.items()),
        "",
        *_table(("id", "what broke", "`retryable`"), index),
        "",
        *(line for kind in kinds for line in _failure(kind)),
    ])  # fmt: skip


def _failure(kind: Kind) -> list[str]:
    facts = [
        f"- **What it usually means:** {kind.usual}" if kind.usual else "",
        "- **{}:** {}".format(*kind.advice("", kind.retryable).split(": ", 1)),
        "- Only a warning."
        if _warns(kind)
        else f"- `error_phase`: `{kind.phase}`, `retryable`: `{kind.retryable}`",
    ]
    return [f"## {kind.type}", "", f"{kind.title}. {kind.message}", "", *filter(None, facts), ""]


def _warns(kind: Kind) -> bool:
    return kind.type in WARNINGS


def pages() -> dict[Path, str]:
    """What the generated pages should say."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    return {
        ROOT / "docs" / "inputs.md": inputs_page(action),
        ROOT / "docs" / "failures.md": failures_page(),
    }


def _one_line(description: str) -> str:
    return " ".join(description.split())


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
            for row in [header, ("---",) * len(header), *rows]]  # fmt: skip


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
