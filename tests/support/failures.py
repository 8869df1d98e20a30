"""One failed step of every type, told as the action tells it: for the goldens, and for whoever reads them.

How a run with a machine ends is `ends`'.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from unittest.mock import patch

from tests.support import runner
from tests.support.ends import ENDS

from flaude_action.artifacts import Artifacts
from flaude_action.catalog import CATALOG
from flaude_action.errors import (
    ConfigError,
    FlaudeError,
    FlyAPIError,
    GuestError,
    ImageBuildError,
    InternalError,
    RunCancelled,
)
from flaude_action.inputs import Inputs
from flaude_action.kept_files import Kept
from flaude_action.outcome import Outcome
from flaude_action.publish import publish
from flaude_action.report import Report
from flaude_action.step import Step
from flaude_action.step_report import report_outcome
from flaude_action.verdict import judge

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_action.run_report import RunReport

APP = "my-flaude-app"
INPUTS = Inputs(fly_app=APP, prompt="Fix it.", model="claude-oups-4", max_turns=5, max_budget_usd=2.0)

REFUSED = {
    "config_invalid": ("Input `timeout`: `30` is not a duration.", "Write 90s, 45m or 2h."),
    "secret_missing": ("Input `fly_api_token`: It is empty.", ""),
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
SECONDS = {
    "create": 0.8, "boot": 2.1, "checks": 1.0, "fetch": 1.4, "setup": 8.3, "agent": 61.5, "collect": 0.6,
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


def _after_the_machine(type_: str, report: Report, artifacts: Artifacts, folder: Path) -> RunReport:
    end = ENDS[type_]
    report.machine_lines(
        [f"[{provider}] {text}" if provider == "runner" else text for provider, text in end.log]
    )
    (folder / "changeset").write_text(
        '{"files":[{"path":"src/pages.py","status":"modified","size":812},'
        '{"path":"tests/test_pages.py","status":"added","size":401}]}'
    )
    trouble = end.evidence.trouble
    known = ("create", "boot", *end.phases) if end.ran else ("create",)
    outcome = Outcome(
        verdict=judge(end.evidence),
        evidence=end.evidence,
        machine_id="148e2d1c",
        region="fra",
        image=end.image,
        cleanup=end.cleanup,
        trouble=GuestError(trouble, details=end.details) if trouble else None,
        problems=end.problems,
        files={"changeset": folder / "changeset"} if end.changed else {},
        secret_in=("config/settings.py",) if end.evidence.secret_in_changes else (),
        phase_seconds={phase: SECONDS[phase] for phase in known},
        machine_seconds=66.6 if end.ran else None,
    )
    source = "default" if end.evidence.ours else "given"
    return report_outcome(outcome, Kept(), report, artifacts, INPUTS, image_source=source, placed=True)


def stable(text: str) -> str:
    """The text without what differs from release to release."""
    return re.sub(r"/blob/v[^/]+/", "/blob/vX/", text)
