"""The step summary: `report.json`'s content as GitHub Markdown in which untrusted text stays text. Pure.

It starts from the redacted document, not from the report: a secret that has been escaped for Markdown would
no longer be recognised. How text is made harmless is `markdown`'s. https://github.github.com/gfm/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flaude_action.catalog import CATALOG
from flaude_action.markdown import code, fenced, inline, prose
from flaude_action.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RESULT_CHARS = 20_000
TAIL_CHARS = 20_000
FILES_SHOWN = 20
PLACES_SHOWN = 9

_SIGN = {"success": "✅", "cancelled": "⚪", "skipped": "⚪"}
_PHASES = {
    "create": "Create the machine", "boot": "Start it", "checks": "Check it", "fetch": "Fetch the repository",
    "setup": "Run `setup`", "agent": "Claude Code", "collect": "Collect the changes",
    "hold": "Fetch the result", "released": "Let it go", "destroy": "Destroy the machine",
    "logs": "Read the log's end",
}  # fmt: skip
_DECIDED = {
    "guest_result": "The machine's own result document decided: it is whole and its digest is right.",
    "api_event": "Fly's exit event of this machine decided, because there was no result document.",
    "api_status": "The machine's state at Fly decided, because there was nothing stronger.",
    "log_marker": "The last word in the machine's log decided, because there was nothing stronger.",
    "platform_log": "Fly's own line in the log decided, because there was nothing stronger.",
    "none": "Nothing told how the run ended.",
}
_STATUS = {"added": "A", "modified": "M", "deleted": "D"}


def summary(told: Mapping[str, Any]) -> str:
    """The whole summary of one step from `RunReport.document()`, its secrets already taken out."""
    blocks = [_headline(told), *map(_problem, told["errors"]), _own_words(told), _places(told["findings"])]
    blocks += [_list("Warnings", map(_warning, told["warnings"])), _facts(told), _changes(told)]
    blocks += [_list("Notes", map(prose, told["notices"])), _result(told)]
    blocks += [_phases(told["phase_seconds"]), _evidence(told), _tail(told["log_tail"])]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _headline(told: Mapping[str, Any]) -> str:
    conclusion, errors = told["conclusion"], told["errors"]
    what = CATALOG[errors[0]["type"]].title if errors else "the work is done"
    return (
        f"### {_SIGN.get(conclusion, '❌')} Claude Code on Fly.io: {conclusion}. {what[0].upper()}{what[1:]}"
    )


def _problem(error: Mapping[str, Any]) -> str:
    """What happened, what it usually means and what to do, as one of GitHub's alerts."""
    kind = CATALOG[error["type"]]
    what = prose(f"{error['message']} {error['details']}")
    usual = f"**What it usually means:** {prose(kind.usual)}" if kind.usual else ""
    lead, _, advice = kind.advice(error["hint"], error["retryable"]).partition(": ")
    hint = f"**{lead}:** {prose(advice)}"
    more = f"[`{kind.type}`]({kind.url}), reference `{error['ref']}`"
    level = "NOTE" if kind.type == "cancelled" else "CAUTION"
    lines = [f"[!{level}]", what, "", *([usual, ""] if usual else []), hint, "", more]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _own_words(told: Mapping[str, Any]) -> str:
    """The one line that explains a failure best, and the last lines of what failed."""
    lines = told["excerpt"]
    blocks = [f"In its own words:\n\n{fenced(one_line(told['line'], 1000))}" if told["line"].strip() else ""]
    blocks += [f"The last lines of what failed:\n\n{fenced(chr(10).join(lines))}" if lines else ""]
    return "\n\n".join(filter(None, blocks))


def _places(findings: list[Mapping[str, Any]]) -> str:
    shown = findings[:PLACES_SHOWN]
    return _list(
        "Where", (code(f"{one['file']}:{one['line']}") + " " + inline(one["message"]) for one in shown)
    )


def _warning(warning: Mapping[str, str]) -> str:
    kind = CATALOG[warning["type"]]
    what = prose(f"{kind.message} {warning['details']}")
    return f"{what} {prose(warning['hint'])} ([`{kind.type}`]({kind.url}))"


def _facts(told: Mapping[str, Any]) -> str:
    exit_code = "" if told["exit_code"] is None else str(told["exit_code"])
    rows = {
        "Exit code": exit_code + (f", signal {told['signal']}" if told["signal"] else ""),
        "Model": _model(told),
        "Machine": _machine(told),
        "Machine id": _joined(told, "machine_id", "region", "cleanup"),
        "Image": code(told["image"], cell=True) if told["image"] else "",
        "Files": _joined(told, "patch_file", "execution_file", "log_file", "report_file"),
    }
    cells = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return "\n".join(["| | this run |", "| --- | --- |", *cells]) if cells else ""


def _model(told: Mapping[str, Any]) -> str:
    cost, turns = told["cost_usd"], told["num_turns"]
    parts = ["" if cost is None else _usd(cost), "" if turns is None else _count(turns, "turn")]
    return ", ".join(filter(None, parts))


def _machine(told: Mapping[str, Any]) -> str:
    machine, cost = told["machine"], told["machine_cost_usd"]
    if not machine or machine["seconds"] is None:
        return ""
    size = f"{_count(machine['cpus'], machine['cpu_kind'] + ' CPU')}, {machine['memory_mb']} MB"
    ran = f"{machine['seconds']:.0f} s of {size}"
    if cost is None:
        return ran
    return f"{_usd(cost)} for {ran} ([prices]({machine['prices_url']}) of {machine['prices_date']})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _usd(amount: float) -> str:
    if amount <= 0:
        return "\\$0"
    return f"\\${amount:.4f}" if amount >= 0.0001 else "less than \\$0.0001"


def _joined(told: Mapping[str, Any], *names: str) -> str:
    return " ".join(code(told[name], cell=True) for name in names if told[name])


def _changes(told: Mapping[str, Any]) -> str:
    changes, count = told["changes"], len(told["changed_files"])
    rows = [f"{_STATUS.get(one['status'], '?')} {code(one['path'])}" for one in changes[:FILES_SHOWN]]
    if count > len(rows):
        rows.append(f"and {count - len(rows)} more")
    return _list(f"Changed: {_count(count, 'file')}", rows) if count else ""


def _result(told: Mapping[str, Any]) -> str:
    """The answer, in the open when it is what the reader came for."""
    result, title = told["result"], "Claude Code's answer"
    if not result.strip():
        return ""
    more = "" if len(result) <= RESULT_CHARS else f"\n[cut: {len(result)} characters in all]"
    block = fenced(result[:RESULT_CHARS] + more)
    return f"**{title}**\n\n{block}" if told["conclusion"] == "success" else _folded(title, block)


def _phases(seconds: Mapping[str, float]) -> str:
    rows = [f"| {_PHASES.get(phase, inline(phase))} | {spent:.1f} |" for phase, spent in seconds.items()]
    total = f"{sum(seconds.values()):.1f}"
    rows.append(f"| **Together** | **{total}** |")
    table = "\n".join(["| phase | seconds |", "| --- | ---: |", *rows])
    return _folded(f"Time: {total} seconds", table) if seconds else ""


def _evidence(told: Mapping[str, Any]) -> str:
    """Which source decided, and what the others said."""
    seen = told["evidence"]
    if not seen:
        return ""
    stop = seen["own_stop"]
    decided = _DECIDED[told["exit_code_source"]]
    if stop and told["error_type"] == stop:
        decided = "This step's own decision to stop decided; it was recorded before the machine was touched."
    elif seen["trouble"] and told["error_type"] == seen["trouble"]:
        decided = "What ended this step's talk with the machine decided, because there was nothing stronger."
    elif told["error_type"] == "secret_in_changes":
        decided = "What this step found in the change decided, against the result document's good word."
    elif told["error_type"] == "result_tampered":
        decided = "The machine's result document came with a wrong digest, so nothing in it counts."
    event, marker, platform = seen["api_event"], seen["log_marker"], seen["platform_log"]
    rows = {
        "Result document": "read whole" if seen["guest_result"] else "none",
        "Fly's exit event": _event(event) if event else "none, or not asked for",
        "Machine's last state": inline(seen["api_status"]) or "not asked for",
        "Last word in the log": "none" if marker is None else f"exit code {marker}",
        "Fly's line in the log": "none" if platform is None else f"exit code {platform}",
        "Log": "complete" if seen["log_complete"] else "not known to be complete",
    }
    cells = [f"| {name} | {value} |" for name, value in rows.items()]
    return _folded(
        "How this is known", "\n".join([decided, "", "| evidence | said |", "| --- | --- |", *cells])
    )


def _event(event: Mapping[str, Any]) -> str:
    memory = ", out of memory" if event["oom_killed"] else ""
    code_ = "no exit code" if event["exit_code"] is None else f"exit code {event['exit_code']}"
    return f"{inline(event['type'])}: {code_}{memory}"


def _tail(tail: str) -> str:
    return _folded("The log's last lines", fenced(tail[-TAIL_CHARS:])) if tail else ""


def _folded(title: str, block: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{block}\n\n</details>"


def _list(title: str, items: Iterable[str]) -> str:
    lines = [f"- {item}" for item in items]
    return "\n".join([f"**{title}**", "", *lines]) if lines else ""
