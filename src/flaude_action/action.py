"""The journey of a step: read, check, run, tell. And of its post stage: nothing may be left behind.

What a run's end means for outputs and summary is `step_report`'s; the engine that runs one machine is
`execution`; everything printed or written goes through `report`.
"""

from __future__ import annotations

import tempfile
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flaude_action import __version__
from flaude_action.errors import (
    ConfigError,
    FlaudeError,
    FlyAPIError,
    ImageBuildError,
    InternalError,
    RunCancelled,
)
from flaude_action.inputs import Inputs, given_inputs, given_secrets
from flaude_action.report import Report
from flaude_action.run_report import Outputs, RunReport
from flaude_action.state import load_state
from flaude_action.waiting import unless_cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

    from flaude_action.artifacts import Artifacts
    from flaude_action.event import Event
    from flaude_action.fly import Fly
    from flaude_action.image_choice import ChosenImage, ImageSource
    from flaude_action.logs import LogLine
    from flaude_action.machine import Launch, Machine
    from flaude_action.machine_config import MachineConfig
    from flaude_action.outcome import Watcher
    from flaude_action.preflight import Plan
    from flaude_action.verdict import Verdict
    from flaude_action.waiting import Cancellation

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_CANCELLED = 0, 1, 2, 130
"""What the step's process exits with: README has the table."""

USER_AGENT = f"flaude-action/{__version__}"
_PHASES = {
    "checks": "The machine checks itself.",
    "fetch": "The machine fetches the repository.",
    "setup": "The machine runs `setup`.",
    "agent": "Claude Code is at work.",
    "collect": "The machine gathers what was done.",
    "hold": "The result is ready.",
}
_EXITS = {"success": EXIT_OK, "cancelled": EXIT_CANCELLED}


async def main(environ: Mapping[str, str], stdout: TextIO, cancellation: Cancellation) -> int:
    """One step from its inputs to its exit code. Outputs are always set; nothing escapes but a cancel."""
    report = Report(environ, stdout)
    report.mask(given_secrets(environ))
    try:
        inputs = Inputs.from_env(environ)
        report.mask(inputs.secrets())
        report.app = inputs.fly_app
        return await _step(inputs, environ, report, cancellation)
    except Exception as error:
        with _folder(environ) as artifacts:
            return _tell(_known(error, report), report, artifacts)


async def post(environ: Mapping[str, str], stdout: TextIO) -> int:
    """The stage after the job: destroy what `main` could not. Never fails the job."""
    state = load_state(environ)
    if not state.get("nonce") or state.get("cleanup") in ("destroyed", "already_gone"):
        return EXIT_OK
    report = Report(environ, stdout)
    report.mask(given_secrets(environ))
    try:
        await _reap(environ, state, report)
    except FlaudeError as error:
        report.warning("cleanup_failed", f"{error.message} {error.details}")
    return EXIT_OK


async def _reap(environ: Mapping[str, str], state: Mapping[str, str], report: Report) -> None:
    """Destroy every machine that carries this step's nonce, and say so."""
    from flaude_action.fly import Fly, base_urls
    from flaude_action.machine import META_NONCE, destroy

    flaps, api = base_urls(environ)
    token = given_inputs(environ).get("fly_api_token", "")
    async with Fly(token, flaps_url=flaps, api_url=api, user_agent=USER_AGENT) as fly:
        for machine in await fly.list_machines(state["app"], metadata={META_NONCE: state["nonce"]}):
            cleanup = await destroy(fly, state["app"], machine)
            if cleanup.startswith("leaked"):
                report.warning("cleanup_failed", f"Its id is {machine.id}.")
            else:
                report.say(f"Machine {machine.id} was still there and is destroyed.")


async def _step(
    inputs: Inputs, environ: Mapping[str, str], report: Report, cancellation: Cancellation
) -> int:
    # Loaded here: a step that fails on its inputs pays for none of it.
    from flaude_action.artifacts import Artifacts
    from flaude_action.event import Event
    from flaude_action.fly import Fly, base_urls
    from flaude_action.preflight import preflight

    event = Event.from_env(environ)
    flaps, api = base_urls(environ)
    token = inputs.fly_api_token or ""
    async with Fly(token, flaps_url=flaps, api_url=api, user_agent=USER_AGENT) as fly:
        plan = await unless_cancelled(preflight(inputs, event, fly), cancellation)
        workspace = Path(environ.get("GITHUB_WORKSPACE") or ".")
        image = await _image(inputs, workspace, plan, report, cancellation)
        config = replace(plan.config, image=image.reference, guest=image.guest)
        with Artifacts(workspace, event.step) as artifacts:
            step = Step(inputs, event, report, artifacts, image.source)
            try:
                return await step.run(fly, config, cancellation)
            except Exception as error:
                return step.failed(_known(error, report))


@contextmanager
def _folder(environ: Mapping[str, str]) -> Iterator[Artifacts | None]:
    """The folder of a step that has not come far, None where there can be none: no report may fail for it."""
    from flaude_action.artifacts import Artifacts

    artifacts = None
    if workspace := environ.get("GITHUB_WORKSPACE"):
        with suppress(ConfigError, OSError):
            artifacts = Artifacts(Path(workspace), environ.get("GITHUB_ACTION", ""))
    try:
        yield artifacts
    finally:
        if artifacts is not None:
            artifacts.close()


def _known(error: Exception, report: Report) -> FlaudeError:
    """What nobody has foreseen is a bug of ours: all of it in the step's log, fixed wording elsewhere."""
    if isinstance(error, FlaudeError):
        return error
    report.quote("".join(traceback.format_exception(error)))
    return InternalError()


async def _image(
    inputs: Inputs, workspace: Path, plan: Plan, report: Report, cancellation: Cancellation
) -> ChosenImage:
    """The machine's image; a build is told in one group of the log, and ends when the step is cancelled."""
    from flaude_action.image_choice import choose_image

    work = choose_image(inputs, workspace, trusted=not plan.is_fork, say=report.quote)
    if not inputs.base_image and not inputs.dockerfile:
        return await work
    with report.group("The machine's image"):
        return await unless_cancelled(work, cancellation)


@dataclass
class Step:
    """One run told to the step's log as it happens, and everywhere else at its end."""

    inputs: Inputs
    event: Event
    report: Report
    artifacts: Artifacts
    image_source: ImageSource
    machine: Machine | None = None

    async def run(self, fly: Fly, config: MachineConfig, cancellation: Cancellation) -> int:
        from flaude_action.execution import Execution
        from flaude_action.machine import run_digest
        from flaude_action.outcome import Errand
        from flaude_action.step_report import LOG_FILE, report_outcome

        run = run_digest(*self.event.identity(self.inputs.matrix_index))
        with tempfile.TemporaryDirectory(prefix="flaude-") as folder, self.artifacts.open(LOG_FILE) as log:
            errand = Errand(self.inputs.fly_app, run, Path(folder), complete=self._with_links)
            execution = Execution(fly, config, errand, cancellation=cancellation, watcher=self._watcher())
            self.report.log_to(log)
            try:
                outcome = await execution.run()
            finally:
                self.report.log_to(None)
            told = report_outcome(
                outcome, self.report, self.artifacts, self.inputs,
                image_source=self.image_source, placed=self._is_our_repository,
            )  # fmt: skip
            told = self.report.publish(told, self.artifacts)
        self.report.save_state({"cleanup": outcome.cleanup})
        return self._forgiven(_EXITS.get(told.outputs.conclusion, EXIT_FAILED))

    @property
    def _is_our_repository(self) -> bool:
        """Whether a path in the work's repository is one in the workflow's too."""
        named = self.inputs.repository
        return not named or named.casefold() == self.event.repository.casefold()

    def _forgiven(self, code: int) -> int:
        return EXIT_OK if code == EXIT_FAILED and not self.inputs.raise_on_failure else code

    async def _with_links(self, config: MachineConfig) -> MachineConfig:
        """The job's last secrets: links to private repositories, good for minutes."""
        from flaude_action.archive_links import with_links
        from flaude_action.github import GitHub

        async with GitHub(self.event.api_url, self.inputs.github_token) as github:
            complete = await with_links(config, self.event, github)
        for repo in complete.repositories:
            self.report.mask(repo.secrets())
        return complete

    def _watcher(self) -> Watcher:
        from flaude_action.outcome import Watcher

        return Watcher(
            launching=self._launching,
            created=self._created,
            phase=self._phase,
            lines=self._lines,
            judged=self._judged,
        )

    def _launching(self, launch: Launch) -> None:
        """Written before the create call: if its answer is lost, post still finds the machine."""
        self.report.save_state({"app": self.inputs.fly_app, "nonce": launch.nonce})
        where = ", ".join(region for region in launch.regions if region) or "a region Fly chooses"
        self.report.say(f"Creating machine {launch.machine_name} in {where}.")

    def _created(self, machine: Machine) -> None:
        self.machine = machine
        self.report.say(f"Machine {machine.id} is created in {machine.record.region}.")

    def _phase(self, phase: str) -> None:
        if phase in _PHASES:
            self.report.say(_PHASES[phase])

    async def _lines(self, page: list[LogLine]) -> None:
        self.report.machine_lines([_shown(line) for line in page])

    def _judged(self, verdict: Verdict) -> None:
        why = f" ({verdict.type})" if verdict.type else ""
        self.report.say(f"Verdict: {verdict.conclusion}{why}, told by {verdict.source}.")

    def failed(self, error: FlaudeError) -> int:
        """No machine came to be, or one that could not be used, or we broke."""
        from flaude_action.step_report import LOG_FILE, TAIL_LINES

        machine = self.machine
        outputs = Outputs(
            image_source=self.image_source,
            machine_id=machine.id if machine is not None else "",
            region=machine.record.region if machine is not None else "",
            log_file=self.artifacts.path(LOG_FILE),
            cleanup=machine.cleanup if machine is not None else "",
        )
        log_tail = self.report.tail(TAIL_LINES)
        return self._forgiven(
            _tell(error, self.report, self.artifacts, RunReport(outputs, log_tail=log_tail))
        )


def _shown(line: LogLine) -> str:
    """The workload's lines as they are; the platform's with its name."""
    return line.message if line.provider in ("app", "") else f"[{line.provider}] {line.message}"


def _tell(
    error: FlaudeError, report: Report, artifacts: Artifacts | None, told: RunReport | None = None
) -> int:
    """Report a step that ended without a run's outcome."""
    told = told or RunReport()
    cancelled = isinstance(error, RunCancelled)
    outputs = replace(told.outputs, conclusion="cancelled" if cancelled else "failure")
    told = replace(told, outputs=outputs, errors=(error,))
    if isinstance(error, ConfigError):
        told = replace(told, errors=tuple(error.problems))
    elif isinstance(error, FlyAPIError):
        told = replace(told, line=error.detail)
    elif isinstance(error, ImageBuildError):
        told = replace(told, excerpt=report.safe_lines(error.stderr))
    report.publish(told, artifacts)
    if cancelled:
        return EXIT_CANCELLED
    return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
