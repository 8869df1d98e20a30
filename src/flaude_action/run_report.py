"""What a finished step has to tell, as plain values: the outputs, and the rest of the report.

Filling it in is the story's (`action`); how it looks in the log, the summary and the files is `report`'s and
`summary`'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from flaude_action import __version__

if TYPE_CHECKING:
    from flaude_action.errors import FlaudeError

SCHEMA = 1
"""Version of `report.json`."""


@dataclass(frozen=True)
class Outputs:
    """The step's outputs: the fields are action.yml's, in its order. None is written as the empty string."""

    conclusion: str = "failure"
    exit_code: int | None = None
    exit_code_source: str = "none"
    signal: int | None = None
    oom_killed: bool = False
    state: str = ""
    error_type: str = ""
    error_phase: str = ""
    error_message: str = ""
    error_hint: str = ""
    retryable: str = ""
    error_ref: str = ""
    machine_id: str = ""
    region: str = ""
    image: str = ""
    image_source: str = ""
    result: str = ""
    session_id: str = ""
    num_turns: int | None = None
    cost_usd: float | None = None
    structured_output: Any = None
    changed_files: tuple[str, ...] = ()
    patch_file: str = ""
    log_tail: str = ""
    log_file: str = ""
    log_complete: bool | None = None
    execution_file: str = ""
    report_file: str = ""
    phase_seconds: dict[str, float] = field(default_factory=dict)
    cleanup: str = ""

    def values(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


def rendered(value: Any) -> str:
    """An output as text: JSON for lists, objects, numbers and booleans, nothing for None, text as it is."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class RunReport:
    """One step, told. `errors` has the one that decides first; warnings are `(catalog type, details)`.

    `line` is the one untrusted line that explains the failure best (Claude Code's stderr, git's message);
    `log_tail` the last lines of the log, already safe; `evidence` what the verdict rests on, as JSON values.
    """

    outputs: Outputs = field(default_factory=Outputs)
    errors: tuple[FlaudeError, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    notices: tuple[str, ...] = ()
    line: str = ""
    log_tail: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)

    def complete(self, *, report_file: str) -> RunReport:
        """The same report with the outputs filled in that follow from the first error and the log's tail."""
        known: dict[str, Any] = {"log_tail": "\n".join(self.log_tail), "report_file": report_file}
        if self.errors:
            error = self.errors[0]
            known |= {
                "error_type": error.type,
                "error_phase": error.phase,
                "error_message": f"{error.message} {error.details}".strip(),
                "error_hint": error.hint,
                "retryable": error.retryable,
                "error_ref": error.ref,
            }
        return replace(self, outputs=replace(self.outputs, **known))

    def document(self) -> dict[str, Any]:
        """`report.json`: everything above under its own name, and who wrote it."""
        return {
            "schema": SCHEMA,
            "flaude_action": __version__,
            **self.outputs.values(),
            "errors": [error.as_json() for error in self.errors],
            "warnings": [{"type": kind, "details": details} for kind, details in self.warnings],
            "notices": list(self.notices),
            "line": self.line,
            "evidence": self.evidence,
        }
