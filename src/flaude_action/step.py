"""One step as far as it has come: what it says while its machine works, and how its end is told.

What a run's end means for outputs and summary is `step_report`'s; the order of things is `action`'s.
"""

from __future__ import annotations

import asyncio
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flaude_action.errors import (
    ConfigError,
    FlaudeError,
    FlyAPIError,
    ImageBuildError,
    InternalError,
    RunCancelled,
)
from flaude_action.publish import publish
from flaude_action.run_report import LOG_FILE, TAIL_LINES, Outputs, RunReport, may_be_left

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flaude_action.artifacts import Artifacts
    from flaude_action.image_choice import ChosenImage
    from flaude_action.inputs import Inputs
    from flaude_action.kept_files import Kept
    from flaude_action.launch import Launch
    from flaude_action.log_lines import LogLine
    from flaude_action.machine import Machine
    from flaude_action.outcome import Watcher
    from flaude_action.report import Report
    from flaude_action.verdict import Verdict

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_CANCELLED = 0, 1, 2, 130
"""What the step's process exits with: README has the table."""

_PHASES = {
    "checks": "The machine checks itself.",
    "fetch": "The machine fetches the repository.",
    "setup": "The machine runs `setup`.",
    "agent": "Claude Code is at work.",
    "collect": "The machine gathers what was done.",
    "hold": "The result is ready.",
}


@dataclass
class Step:
    """What is known so far, so that the step can end at any point with all outputs set."""

    report: Report
    environ: Mapping[str, str]
    artifacts: Artifacts | None = None
    inputs: Inputs | None = None
    image: ChosenImage | None = None
    machine: Machine | None = None
    log_file: str = ""
    kept: Kept | None = None

    @property
    def workspace(self) -> Path:
        return Path(self.environ.get("GITHUB_WORKSPACE") or ".")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.artifacts is not None:
            self.artifacts.close()

    # While it runs

    @contextmanager
    def logging(self, artifacts: Artifacts) -> Iterator[None]:
        """Inside, the machine's lines also go to the log file."""
        file = artifacts.open(LOG_FILE)
        self.log_file = artifacts.path(LOG_FILE)
        self.report.log_to(file)
        try:
            yield
        finally:
            self.report.log_to(None)
            with suppress(OSError):  # a full disk has been told, and is no reason to lose the run
                file.close()

    def watcher(self) -> Watcher:
        from flaude_action.outcome import Watcher

        return Watcher(
            launching=self._launching,
            created=self._created,
            phase=self._phase,
            lines=self._lines,
            judged=self._judged,
            collected=self._collected,
        )

    def _launching(self, launch: Launch) -> None:
        """Written before the create call: if its answer is lost, post still finds the machine."""
        self.report.save_state({"app": self.report.app, "nonce": launch.nonce})
        where = ", ".join(region for region in launch.regions if region) or "a region Fly chooses"
        self.report.say(f"Creating machine {launch.machine_name} in {where}.")

    def _created(self, machine: Machine) -> None:
        self.machine = machine
        self.report.say(f"Machine {machine.id} is created in {machine.record.region}.")

    def _phase(self, phase: str) -> None:
        if phase in _PHASES:
            self.report.say(_PHASES[phase])

    async def _lines(self, page: list[LogLine]) -> None:
        for _ in self.report.machine_portions(list(map(_shown, page))):
            await asyncio.sleep(0)

    def _judged(self, verdict: Verdict) -> None:
        why = f" ({verdict.type})" if verdict.type else ""
        self.report.say(f"Verdict: {verdict.conclusion}{why}, told by {verdict.source}.")

    async def _collected(self, files: Mapping[str, Path]) -> None:
        """Write the patch, in a thread: it may be large, and the disk slow."""
        from flaude_action.kept_files import Kept, keep_patch

        if self.artifacts is not None:
            self.kept = Kept()
            await asyncio.to_thread(keep_patch, self.kept, files, self.artifacts)

    # Its end

    def failed(self, error: Exception) -> RunReport:
        """The report when there is no run's outcome: no machine came to be, it was of no use, or we broke."""
        error = known(error, self.report)
        machine = self.machine
        outputs = Outputs(
            conclusion="cancelled" if isinstance(error, RunCancelled) else "failure",
            image_source=self.image.source if self.image is not None else "",
            machine_id=machine.id if machine is not None else "",
            region=machine.record.region if machine is not None else "",
            log_file=self.log_file,
            cleanup=machine.cleanup if machine is not None else "",
        )
        return RunReport(
            outputs,
            errors=tuple(error.problems) if isinstance(error, ConfigError) else (error,),
            warnings=tuple(may_be_left(outputs.cleanup)),
            line=error.detail if isinstance(error, FlyAPIError) else "",
            log_tail=self.report.tail(TAIL_LINES),
            excerpt=self.report.safe_lines(error.stderr) if isinstance(error, ImageBuildError) else (),
        )

    def tell(self, told: RunReport) -> int:
        """Tell the end everywhere; the exit code."""
        publish(self.report, told, self.artifacts)
        if told.outputs.conclusion == "success":
            return EXIT_OK
        if told.outputs.conclusion == "cancelled":
            return EXIT_CANCELLED
        if any(isinstance(error, ConfigError) for error in told.errors):
            return EXIT_CONFIG
        return EXIT_FAILED if self.inputs is None or self.inputs.raise_on_failure else EXIT_OK


def known(error: Exception, report: Report) -> FlaudeError:
    """What nobody has foreseen is a bug of ours: all of it in the step's log, fixed wording elsewhere."""
    if isinstance(error, FlaudeError):
        return error
    report.quote("".join(traceback.format_exception(error)))
    return InternalError()


def _shown(line: LogLine) -> str:
    """The workload's lines as they are; the platform's with its name."""
    return line.message if line.provider in ("app", "") else f"[{line.provider}] {line.message}"
