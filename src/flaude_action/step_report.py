"""From a run's outcome to what the step reports: outputs, errors, warnings, notices.

Which words and places these get is `report`'s; the files in the workspace are `kept_files`'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flaude_action import left_out
from flaude_action.annotations import read_findings
from flaude_action.catalog import CATALOG
from flaude_action.kept_files import Kept, keep_transcript
from flaude_action.outcome import number, whole
from flaude_action.prices import PRICES_DATE, PRICES_URL, machine_cost_usd
from flaude_action.run_report import LOG_FILE, TAIL_LINES, Outputs, RunReport, Warned, may_be_left
from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from flaude_action.artifacts import Artifacts
    from flaude_action.errors import FlaudeError
    from flaude_action.inputs import Inputs
    from flaude_action.outcome import Outcome
    from flaude_action.report import Report

_LIMITS = {
    "run_timeout": "timeout", "agent_silent_timeout": "idle_timeout", "max_turns_reached": "max_turns",
    "budget_exhausted": "max_budget_usd", "agent_oom": "memory_mb", "machine_oom": "memory_mb",
    "tool_oom": "memory_mb", "model_not_found": "model",
}  # fmt: skip
"""Which input a failure's hint speaks of: its value is told with it."""
_NO_LOG_NEEDED = ("guest_result", "api_event", "api_status")
_MAY_READ_LOGS = "Give the token the right to read logs: `fly tokens create deploy -a <app>`."


def report_outcome(
    outcome: Outcome,
    kept: Kept,
    report: Report,
    artifacts: Artifacts,
    inputs: Inputs,
    *,
    image_source: str,
    placed: bool,
    hurried: Callable[[], bool] = lambda: False,
) -> RunReport:
    """Everything the step has to tell about a run that had a machine; call it in a thread, it takes its time.

    `kept` has the run's patch already.

    `placed` says that the work's repository is the workflow's, so that its paths mean something to GitHub.
    `hurried` is asked whether what is no work, but takes long, is to be given up.
    """
    tail = report.tail(TAIL_LINES)
    keep_transcript(kept, outcome.files, report, artifacts, hurried)
    failure = outcome.failure(list(tail)) or kept.failure()
    outputs = _outputs(outcome, kept, artifacts.path(LOG_FILE), inputs, image_source)
    if failure is not None:
        if outcome.verdict.ok:
            outputs = replace(outputs, conclusion="failure")
        failure.details = f"{failure.details} {_limit(failure.type, inputs)}".strip()
    return RunReport(
        outputs=outputs,
        errors=(failure,) if failure is not None else (),
        warnings=tuple(_warnings(outcome, inputs)),
        notices=(
            *outcome.verdict.notices,
            *_problems(outcome, failure),
            *kept.notes(failure),
            *left_out.notices(outcome.result, failure.details if failure is not None else ""),
        ),
        line=outcome.verdict.line,
        log_tail=tail,
        excerpt=report.excerpt(failure.phase) if failure is not None else (),
        findings=read_findings(outcome.result) if failure is not None and placed else (),
        changes=tuple(outcome.changes()),
        evidence=_evidence(outcome),
        machine=_machine(outcome, inputs),
    )


def _problems(outcome: Outcome, failure: FlaudeError | None) -> list[str]:
    """What went wrong on the way, but for what the failure itself says."""
    return [each for each in outcome.problems if failure is None or each not in failure.details]


def _limit(type_: str, inputs: Inputs) -> str:
    """The value of the input that the failure's hint speaks of."""
    name = _LIMITS.get(type_, "")
    value = getattr(inputs, name, None)
    if value is None:
        return ""
    text = duration(value) if name.endswith("timeout") else f"{value:g}" if name != "model" else str(value)
    return f"`{name}` was {quoted(text) if name == 'model' else text}."


def duration(seconds: float) -> str:
    """`90s`, `45m`, `2h`: as inputs write it, in the largest unit that is exact."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size:g}{unit}"
    return f"{seconds:g}s"


def _machine(outcome: Outcome, inputs: Inputs) -> dict[str, Any]:
    """The machine's size, how long it ran, and by which prices that costs what."""
    return {
        "cpu_kind": inputs.cpu_kind,
        "cpus": inputs.cpus,
        "memory_mb": inputs.memory_mb,
        "seconds": outcome.machine_seconds,
        "prices_date": PRICES_DATE,
        "prices_url": PRICES_URL,
    }


def _cost(outcome: Outcome, inputs: Inputs) -> float | None:
    if outcome.machine_seconds is None:
        return None
    return machine_cost_usd(
        outcome.machine_seconds,
        cpu_kind=inputs.cpu_kind,
        cpus=inputs.cpus,
        memory_mb=inputs.memory_mb,
        region=outcome.region,
    )


def _outputs(outcome: Outcome, kept: Kept, log_file: str, inputs: Inputs, image_source: str) -> Outputs:
    agent, verdict = outcome.agent, outcome.verdict
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
        num_turns=whole(agent.get("num_turns")),
        cost_usd=number(agent.get("cost_usd")),
        machine_cost_usd=_cost(outcome, inputs),
        structured_output=agent.get("structured_output"),
        changed_files=tuple(outcome.changed_files()),
        patch_file=kept.paths.get("patch_file", ""),
        log_file=log_file,
        log_complete=outcome.evidence.log_complete,
        execution_file=kept.paths.get("execution_file", ""),
        phase_seconds=outcome.phase_seconds,
        cleanup=outcome.cleanup,
    )


def _warnings(outcome: Outcome, inputs: Inputs) -> list[Warned]:
    warnings = [
        Warned(kind, f"{details} {_limit(kind, inputs)}".strip())
        for kind, details in outcome.verdict.warnings
        if kind in CATALOG
    ]
    if outcome.secret_in and outcome.verdict.type != "secret_in_changes":
        warnings.append(Warned("secret_in_changes", outcome.stands_in()))
    if not outcome.evidence.log_complete and not outcome.evidence.never_started:  # else there is no log
        said = f"The logs host said {outcome.log_refused}." if outcome.log_refused else ""
        calm = "The verdict does not depend on it." if outcome.verdict.source in _NO_LOG_NEEDED else ""
        hint = _MAY_READ_LOGS if outcome.log_refused else ""
        warnings.append(Warned("log_stream_lost", f"{said} {calm}".strip(), hint))
    return warnings + may_be_left(outcome.cleanup)


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
        "log_complete": evidence.log_complete,
    }
