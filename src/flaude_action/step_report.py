"""From a run's outcome to what the step reports: outputs, errors, warnings, and the files in the workspace.

Which words and places these get is `report`'s. The patch is handed on byte for byte; every other file passes
through the redactor, because GitHub masks logs but no files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flaude_action.catalog import CATALOG
from flaude_action.guest_work import FILES
from flaude_action.run_report import Outputs, RunReport

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_action.artifacts import Artifacts
    from flaude_action.outcome import Outcome
    from flaude_action.report import Report

LOG_FILE = "machine.log"
TAIL_LINES = 20


def report_outcome(outcome: Outcome, report: Report, artifacts: Artifacts, image_source: str) -> RunReport:
    """Everything the step has to tell about a run that had a machine."""
    tail = report.tail(TAIL_LINES)
    failure = outcome.failure(list(tail))
    verdict = outcome.verdict
    return RunReport(
        outputs=_outputs(outcome, report, artifacts, image_source),
        errors=(failure,) if failure is not None else (),
        warnings=tuple(_warnings(outcome)),
        notices=(*verdict.notices, *outcome.problems),
        line=verdict.line,
        log_tail=tail,
        evidence=_evidence(outcome),
    )


def _outputs(outcome: Outcome, report: Report, artifacts: Artifacts, image_source: str) -> Outputs:
    agent, verdict = outcome.agent, outcome.verdict
    patch, transcript = outcome.files.get("patch"), outcome.files.get("transcript")
    changed = outcome.changed_files()
    return Outputs(
        conclusion=verdict.conclusion,
        exit_code=verdict.exit_code,
        exit_code_source=verdict.source,
        signal=verdict.signal,
        oom_killed=verdict.oom_killed,
        state=outcome.state,
        machine_id=outcome.machine_id,
        region=outcome.region,
        image=outcome.image,
        image_source=image_source,
        result=str(agent.get("result") or ""),
        session_id=str(agent.get("session_id") or ""),
        num_turns=agent.get("num_turns"),
        cost_usd=agent.get("cost_usd"),
        structured_output=agent.get("structured_output"),
        changed_files=tuple(changed),
        patch_file=artifacts.take(FILES["patch"], patch) if patch is not None and changed else "",
        log_file=artifacts.path(LOG_FILE),
        log_complete=outcome.evidence.log_complete,
        execution_file=_redacted(transcript, FILES["transcript"], report, artifacts) if transcript else "",
        report_file=artifacts.path("report.json"),
        phase_seconds=outcome.phase_seconds,
        cleanup=outcome.cleanup,
    )


def _redacted(source: Path, name: str, report: Report, artifacts: Artifacts) -> str:
    with source.open(encoding="utf-8", errors="replace", newline="\n") as given, artifacts.open(name) as file:
        for line in given:
            file.write(report.redact_json_line(line).encode("utf-8", "replace"))
    return artifacts.path(name)


def _warnings(outcome: Outcome) -> list[tuple[str, str]]:
    warnings = [(kind, details) for kind, details in outcome.verdict.warnings if kind in CATALOG]
    if outcome.log_refused:
        warnings.append(("log_stream_lost", f"The logs host said {outcome.log_refused}."))
    elif not outcome.evidence.log_complete:
        warnings.append(("log_stream_lost", ""))
    if outcome.cleanup.startswith("leaked"):
        warnings.append(("cleanup_failed", f"Its id is {outcome.machine_id}."))
    return warnings


def _evidence(outcome: Outcome) -> dict[str, Any]:
    """What the verdict rests on, by name, for the report and for whoever doubts it."""
    evidence = outcome.evidence
    event = evidence.exit
    return {
        "image": "ours" if evidence.ours else "foreign",
        "guest_result": evidence.result is not None,
        "api_event": None
        if event is None
        else {"type": event.type, "exit_code": event.exit_code, "oom_killed": event.oom_killed},
        "api_status": evidence.state,
        "log_marker": evidence.marker,
        "platform_log": evidence.platform_code,
        "own_stop": None if evidence.own_stop is None else evidence.own_stop.type,
        "trouble": evidence.trouble,
    }
