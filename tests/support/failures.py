"""One failed step of every type, told as the action tells it: for the goldens, and for whoever reads them."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.support import runner

from flaude_action.artifacts import Artifacts
from flaude_action.catalog import CATALOG
from flaude_action.errors import (
    ConfigError,
    FlaudeError,
    FlyAPIError,
    ImageBuildError,
    InternalError,
    RunCancelled,
)
from flaude_action.evidence import Evidence, ExitEvent, OwnStop
from flaude_action.inputs import Inputs
from flaude_action.outcome import Outcome
from flaude_action.publish import publish
from flaude_action.report import Report
from flaude_action.step import Step
from flaude_action.step_report import report_outcome
from flaude_action.verdict import Source, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

APP = "my-flaude-app"
INPUTS = Inputs(fly_app=APP, prompt="Fix it.", model="claude-oups-4", max_turns=5, max_budget_usd=2.0)
RESETS_AT = 1795269600.0

REFUSED = {
    "config_invalid": ("Input `timeout`: `30` has no unit.", "Write a duration like `90s`, `45m` or `2h`."),
    "secret_missing": ("Input `fly_api_token`: it is empty.", ""),
}
FLY = {
    "machine_auth_failed": (401, "unauthorized"),
    "machine_create_rejected": (400, "invalid config.guest.memory_mb, must be in 512 MiB increments"),
    "machine_quota_exceeded": (403, "Your organization has reached its machine limit."),
    "machine_capacity": (409, "insufficient resources available to fulfill request"),
    "machine_api_unavailable": (503, "upstream connect error or disconnect/reset before headers"),
    "app_not_found": (404, "Could not find App"),
}
BUILD = """\
#9 [4/5] RUN apt-get install -y libpng-dev
#9 1.204 E: Unable to locate package libpng-dev
#9 ERROR: process "/bin/sh -c apt-get install -y libpng-dev" did not complete successfully: exit code: 100"""
SETUP = """\
npm warn deprecated glob@7.2.3
src/pages.ts(12,5): error TS2322: Type 'string' is not assignable to type 'number'.
src/pages.ts(40,9): error TS2304: Cannot find name 'siez'.
make: *** [Makefile:3: build] Error 2"""
FINDINGS = [
    {"file": "src/pages.ts", "line": 12, "column": 5,
     "message": "error TS2322: Type 'string' is not assignable to type 'number'."},
    {"file": "src/pages.ts", "line": 40, "column": 9, "message": "error TS2304: Cannot find name 'siez'."},
]  # fmt: skip
WORK = """\
Claude Code 2.1.330, model claude-sonnet-5
I'll run the tests first.
> Bash: python -m pytest -q
  | FAILED tests/test_pages.py::test_last_page - assert 3 == 2
The last page is counted twice. I'll fix `pages()`."""


@dataclass(frozen=True)
class Ended:
    """How a run with a machine ended: what the guest or Fly told of it."""

    details: str = ""
    line: str = ""
    log: str = WORK
    phase: str = "agent"
    source: Source = "guest_result"
    code: int | None = 1
    retry_at: float | None = None


def _api(status: int) -> str:
    return f"The model API answered HTTP {status}."


def _fly(log: str = WORK, code: int | None = None, source: Source = "api_event") -> Ended:
    return Ended(log=log, source=source, code=code)


RUNS: dict[str, Ended] = {
    "machine_boot_timeout": Ended(log="", source="none", code=None),
    "machine_exec_refused": Ended(log="", source="none", code=None),
    "boot_marker_missing": Ended(log="/bin/sh: 1: flaude-guest: not found", source="none", code=None),
    "entrypoint_crashed": _fly("exec /usr/local/bin/start: exec format error", 126),
    "environment_unusable": Ended("Only 212 MiB of disk space are free.", phase="checks", log="", code=70),
    "protocol_mismatch": Ended("The image speaks protocol 2, this action speaks 1.", log="", code=None),
    "clone_auth_failed": Ended(
        "The server answered HTTP 403.", "remote: Write access to repository not granted.", "", "fetch"
    ),
    "clone_ref_not_found": Ended("The repository answers but has no such ref.", "", "", "fetch"),
    "clone_failed": Ended(
        "git exited with 128.", "fatal: unable to access: Could not resolve host: github.com", "", "fetch"
    ),
    "clone_archive_unusable": Ended(log="", phase="fetch"),
    "setup_command_failed": Ended("It ended with exit code 2.", "", SETUP, "setup", code=2),
    "agent_start_failed": Ended("Claude Code exited with 1.", "error: unknown option '--modle'",
                                "claude: error: unknown option '--modle'"),
    "model_auth_failed": Ended(_api(401), "Invalid bearer token"),
    "model_permission_denied": Ended(_api(403), "Your organization does not have access to Claude Code."),
    "model_not_found": Ended(_api(404), "model: claude-oups-4"),
    "model_billing": Ended(_api(400), "Your credit balance is too low to access the Anthropic API."),
    "model_usage_limit": Ended(_api(429), "You've hit your limit", retry_at=RESETS_AT),
    "model_rate_limited": Ended(_api(429), "This request would exceed your rate limit"),
    "model_overloaded": Ended(_api(529), "Overloaded"),
    "model_server_error": Ended(_api(500), "Internal server error"),
    "model_unreachable": Ended("The model API gave no HTTP answer.", "Connection error."),
    "model_stream_stalled": Ended("No tool was running; the model was silent."),
    "model_invalid_request": Ended(_api(400), "messages.3.content.0: unexpected `tool_use_id`"),
    "model_refused": Ended(line="I can't help with that."),
    "model_output_limit": Ended("", "Claude's response exceeded the 64000 output token maximum."),
    "request_too_large": Ended(_api(413), "Request too large (max 32MB)."),
    "context_overflow_initial": Ended(line="Prompt is too long"),
    "context_overflow": Ended(line="Prompt is too long"),
    "compaction_failed": Ended(line="Error during compaction: overloaded"),
    "agent_error": Ended("The result is an error of no known kind.", "Something new went wrong."),
    "result_missing": Ended("Claude Code exited with 0."),
    "agent_oom": Ended("Processes killed for memory: 1.", code=137),
    "agent_silent_timeout": Ended("A tool was running.", "last tool: Bash: npm run dev", code=124),
    "run_timeout": Ended(code=124),
    "machine_oom": _fly(code=137),
    "machine_stopped_externally": _fly(code=143),
    "killed_by_signal": _fly(code=137),
    "machine_failed": _fly("", source="api_status"),
    "machine_exit_nonzero": _fly("Traceback (most recent call last):\nKeyError: 'TOKEN'", code=1),
    "machine_lost": _fly(source="none"),
    "outcome_unknown": _fly(source="none"),
    "permission_blocked": Ended("Uses denied: 4. No file was changed."),
    "disk_full": Ended("Claude Code could not write its session."),
    "collect_failed": Ended("Taking the changeset took too long.", "", WORK),
    "result_tampered": _fly(source="none"),
}  # fmt: skip


class Told:
    """What a step said: its annotations as the runner reads them, its outputs and its summary."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stdout = io.StringIO()
        files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        self.report = Report(files, self._stdout)
        self.report.app = APP

    @property
    def annotations(self) -> list[runner.Command]:
        log = runner.StepLog()
        log.read(self._stdout.getvalue())
        return [each for each in log.commands if each.name in ("error", "warning", "notice")]

    @property
    def summary(self) -> str:
        return (self._folder / "GITHUB_STEP_SUMMARY").read_text()

    @property
    def outputs(self) -> dict[str, str]:
        return runner.parse_file((self._folder / "GITHUB_OUTPUT").read_text())


def tell(type_: str, folder: Path) -> Told:
    """A step that ends with this failure; for a type that only warns, one that ends well but for it."""
    told = Told(folder)
    with patch("secrets.token_hex", return_value="0badcafe"), Artifacts(folder, "fix") as artifacts:
        before = _before_the_machine(type_)
        if before is not None:
            step = Step(told.report, {}, artifacts)
            step.tell(step.failed(before))
        else:
            publish(told.report, _after_the_machine(type_, told.report, artifacts, folder), artifacts)
    return told


def _before_the_machine(type_: str) -> FlaudeError | None:
    kind = CATALOG[type_]
    if type_ in FLY:
        status, words = FLY[type_]
        if type_ in ("app_not_found", "machine_auth_failed"):
            asked = FlyAPIError(status, words, "01J-fra", "GET", f"/v1/apps/{APP}", type=type_)
            return ConfigError(type_, details=f"The app is '{APP}'. {asked.details}")
        return FlyAPIError(status, words, "01J-fra", "POST", f"/v1/apps/{APP}/machines", type=type_)
    if type_ == "image_build_failed":
        return ImageBuildError(100, BUILD)
    if type_ in REFUSED or kind.phase in ("config", "image"):
        message, hint = REFUSED.get(type_, ("", ""))
        return ConfigError(type_, message, hint=hint)
    if type_ == "cancelled":
        return RunCancelled(type_)
    return InternalError() if type_ == "internal_error" else None


def _after_the_machine(type_: str, report: Report, artifacts: Artifacts, folder: Path) -> Any:
    warns = type_ in WARNINGS
    ended = Ended() if warns else RUNS.get(type_, Ended())
    _log(report, ended)
    source: Source = ended.source
    failed = Verdict(
        "failure", type_, ended.code, source, details=ended.details, line=ended.line, retry_at=ended.retry_at,
        oom_killed=type_.endswith("_oom"),
    )  # fmt: skip
    guests_own = ((type_, WARNINGS[type_]),) if WARNINGS.get(type_) else ()
    good = Verdict("success", "", 0, "guest_result", warnings=guests_own)
    (folder / "changeset").write_text(
        '{"files":[{"path":"src/pages.py","status":"modified","size":812},'
        '{"path":"tests/test_pages.py","status":"added","size":401}]}'
    )
    result = {"findings": FINDINGS if type_ == "setup_command_failed" else []}
    outcome = Outcome(
        verdict=good if warns else failed,
        evidence=_evidence(type_, ended, result),
        machine_id="148e2d1c",
        region="fra",
        image="ghcr.io/owner/flaude-machine:0.1.0",
        cleanup="leaked:148e2d1c" if type_ == "cleanup_failed" else "destroyed",
        files={"changeset": folder / "changeset"} if ended.phase == "agent" else {},
        phase_seconds={"create": 0.8, "boot": 2.1, "checks": 1.0, "fetch": 1.4, ended.phase: 61.5},
        machine_seconds=66.6,
    )  # fmt: skip
    told = report_outcome(outcome, report, artifacts, INPUTS, image_source="release", placed=True)
    facts = replace(told.outputs, num_turns=3, cost_usd=0.0421, result="Done." if warns else "")
    return replace(told, outputs=facts)


WARNINGS = {
    "agent_linger": "Its process was ended after the result.",
    "tool_oom": "Processes killed for memory: 2.",
    "agent_config_ignored": "MCP servers that did not start: 1.",
    "verdict_unconfirmed": " ",
    "log_stream_lost": "",
    "cleanup_failed": "",
}


def _evidence(type_: str, ended: Ended, result: dict[str, Any]) -> Evidence:
    event = (
        ExitEvent("exit", ended.code, oom_killed=type_ == "machine_oom")
        if ended.source == "api_event"
        else None
    )
    return Evidence(
        ours=True,
        result=result if ended.source == "guest_result" else None,
        exit=event,
        state="failed" if ended.source == "api_status" else "",
        marker=ended.code if ended.source == "guest_result" else None,
        own_stop=OwnStop(type_, 0.0) if type_ in ("run_timeout", "machine_boot_timeout") else None,
        log_complete=type_ != "log_stream_lost",
    )


def _log(report: Report, ended: Ended) -> None:
    lines: Sequence[str] = ended.log.split("\n") if ended.log else []
    event = '[flaude:event:{"phase":"%s","seq":3,"type":"phase"}]'
    report.machine_lines(["[flaude] checked out widget", event % ended.phase, *lines, event % "collect"])
    report.machine_lines(["[runner] machine exited", f"[flaude:exit:{ended.code or 0}]"])


def stable(text: str) -> str:
    """The text without what differs from release to release."""
    return re.sub(r"/blob/v[^/]+/", "/blob/vX/", text)
