"""What a finished step has to tell, as plain values: the outputs, and the rest of the report.

`document()` is the one source of `report.json`, the outputs, the annotations and the summary; its schema is
docs/report.schema.json. Filling it in is `step_report`'s and `step`'s; how it is told is `publish`'s,
`annotations`' and `summary`'s.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from flaude_action import __version__
from flaude_action.catalog import CATALOG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flaude_action.annotations import Finding
    from flaude_action.errors import FlaudeError

SCHEMA = 1
"""Version of `report.json`."""
LOG_FILE = "machine.log"
TAIL_LINES = 20
"""As many of the log's last lines are in every report."""
CHANGES = 500
"""As many files are told one by one; `changed_files` has the paths of all."""

_OUR_WORDS = frozenset({
    "schema", "flaude_action", "conclusion", "exit_code_source", "error_type", "error_phase", "retryable",
    "error_ref", "image_source", "patch_file", "log_file", "execution_file", "report_file", "phase_seconds",
    "cleanup", "type", "phase", "ref", "own_stop",
})  # fmt: skip
"""Members of the report that hold no text of others."""
_OUR_OBJECTS = frozenset({"errors", "warnings", "findings", "changes", "evidence", "api_event", "machine"})
"""Members with members that are ours: objects, and lists of them."""


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
    machine_cost_usd: float | None = None
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
    """An output as text: JSON for lists, objects, numbers and booleans, nothing for None, text as it is.

    Small amounts are written without an exponent, which shells and spreadsheets do not read.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Warned(NamedTuple):
    """What did not decide but is told: a type of the catalog; `hint` where the catalog's does not fit."""

    type: str
    details: str = ""
    hint: str = ""


@dataclass(frozen=True)
class RunReport:
    """One step, told. `errors` has the one that decides first.

    `line` is the one untrusted line that explains the failure best (Claude Code's stderr, git's message);
    `log_tail` the last lines of the log and `excerpt` those of the work that failed, already safe; `findings`
    the places in the repository that it named; `changes` what became of each file; `evidence` what the
    verdict rests on and `machine` its size, seconds and prices, as JSON values.
    """

    outputs: Outputs = field(default_factory=Outputs)
    errors: tuple[FlaudeError, ...] = ()
    warnings: tuple[Warned, ...] = ()
    notices: tuple[str, ...] = ()
    line: str = ""
    log_tail: tuple[str, ...] = ()
    excerpt: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    changes: tuple[dict[str, Any], ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    def complete(self, *, report_file: str = "", app: str = "") -> RunReport:
        """The same report with the outputs filled in that follow from the first error and the log's tail, and
        with every hint whole: `app` is the Fly app's name, for those that need it."""
        known: dict[str, Any] = {"log_tail": "\n".join(self.log_tail), "report_file": report_file}
        for error in self.errors:
            error.hint = for_app(error.hint, app)
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
        warnings = [
            one._replace(hint=for_app(one.hint or CATALOG[one.type].hint, app)) for one in self.warnings
        ]
        return replace(self, outputs=replace(self.outputs, **known), warnings=tuple(warnings))

    def document(self) -> dict[str, Any]:
        """`report.json`: everything above under its own name, and who wrote it."""
        return {
            "schema": SCHEMA,
            "flaude_action": __version__,
            **self.outputs.values(),
            "errors": [error.as_json() for error in self.errors],
            "warnings": [warned._asdict() for warned in self.warnings],
            "notices": list(self.notices),
            "line": self.line,
            "excerpt": list(self.excerpt),
            "findings": [asdict(finding) for finding in self.findings],
            "changes": list(self.changes[:CHANGES]),
            "evidence": self.evidence,
            "machine": self.machine,
        }


def redacted(document: Mapping[str, Any], redact: Callable[[Any], Any]) -> dict[str, Any]:
    """`report.json` without secrets.

    Members' names and our own words stay, whatever a secret may be: workflows compare them, and annotations
    and summary are looked up by them.
    """
    return {name: _redacted(name, value, redact) for name, value in document.items()}


def _redacted(name: str, value: Any, redact: Callable[[Any], Any]) -> Any:
    if name in _OUR_WORDS:
        return value
    if name in _OUR_OBJECTS:
        if isinstance(value, list):
            return [redacted(row, redact) for row in value]
        return redacted(value, redact) if value is not None else None
    return redact(value)


def may_be_left(cleanup: str) -> list[Warned]:
    """The warning of a machine that was not seen to be gone, if `cleanup` tells of one."""
    done, _, machine_id = cleanup.partition(":")
    hint = CATALOG["cleanup_failed"].hint.replace("<id>", machine_id)
    return [Warned("cleanup_failed", f"Its id is {machine_id}.", hint)] if done == "leaked" else []


def for_app(hint: str, app: str) -> str:
    """A catalog's hint with the app's name in its commands."""
    return hint.replace("<app>", app) if app else hint
