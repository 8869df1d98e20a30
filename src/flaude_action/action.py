"""The journey of a step: read, check, run, tell. And of its post stage: nothing may be left behind.

How far a step has come, what it says and how it ends is `step`'s; what a run's end means for outputs and
summary `step_report`'s; the engine that runs one machine is `execution`.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flaude_action import __version__
from flaude_action.artifacts import Artifacts
from flaude_action.inputs import Inputs, given_inputs, given_secrets
from flaude_action.publish import warn
from flaude_action.run_report import may_be_left
from flaude_action.state import load_state
from flaude_action.step import EXIT_OK, Step, known
from flaude_action.waiting import Deadline, unless_cancelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flaude_action.event import Event
    from flaude_action.fly import Fly
    from flaude_action.image_choice import ChosenImage
    from flaude_action.machine_config import MachineConfig
    from flaude_action.report import Report
    from flaude_action.run_report import RunReport
    from flaude_action.secret import SecretStr
    from flaude_action.waiting import Cancellation


async def main(environ: Mapping[str, str], report: Report, cancellation: Cancellation) -> int:
    """One step from its inputs to its exit code. Outputs are always set; nothing escapes but a cancel."""
    with Step(report, environ) as step:
        try:
            report.mask(given_secrets(environ))
            step.artifacts = Artifacts(step.workspace, environ.get("GITHUB_ACTION", ""))
            step.inputs = Inputs.from_env(environ)
            report.mask(step.inputs.secrets(), doubtful=step.inputs.doubtful())
            report.app = step.inputs.fly_app
            told = await _run(step, step.inputs, step.artifacts, cancellation)
            # In a thread, so that the loop hears a cancel however long it takes.
            return await asyncio.to_thread(step.tell, told)
        except Exception as error:
            return step.tell(step.failed(error))


async def _run(step: Step, inputs: Inputs, artifacts: Artifacts, cancellation: Cancellation) -> RunReport:
    """Everything that needs the network, from the first question to what came of it."""
    # Loaded here: a step that fails on its inputs pays for none of it.
    from flaude_action.event import Event
    from flaude_action.execution import Execution
    from flaude_action.kept_files import TELL_S, Kept
    from flaude_action.launch import run_digest
    from flaude_action.outcome import Errand
    from flaude_action.preflight import preflight
    from flaude_action.step_report import report_outcome

    event = Event.from_env(step.environ)
    async with _fly(step.environ, inputs.fly_api_token) as fly:
        plan = await unless_cancelled(preflight(inputs, event, fly), cancellation)
        step.report.say(plan.settings)
        step.image = await _image(step, inputs, cancellation, trusted=not plan.is_fork)
        config = replace(plan.config, image=step.image.reference, guest=step.image.guest)
        run = run_digest(*event.identity(inputs.matrix_index))
        complete = partial(_with_links, event=event, token=inputs.github_token, report=step.report)
        with tempfile.TemporaryDirectory(prefix="flaude-") as folder:
            errand = Errand(
                inputs.fly_app, run, Path(folder), complete=complete, holds_secret=step.report.holds_secret
            )
            execution = Execution(fly, config, errand, cancellation=cancellation, watcher=step.watcher())
            with step.logging(artifacts):
                outcome = await execution.run()
            step.report.save_state({"cleanup": outcome.cleanup})
            patience, placed = Deadline.after(TELL_S), event.is_about(inputs.repository)
            return await asyncio.to_thread(
                report_outcome, outcome, step.kept or Kept(), step.report, artifacts, inputs,
                image_source=step.image.source, placed=placed,
                hurried=lambda: cancellation.requested or patience.passed,
            )  # fmt: skip


async def _image(step: Step, inputs: Inputs, cancellation: Cancellation, *, trusted: bool) -> ChosenImage:
    """The machine's image; a build is told in one group of the log, and ends when the step is cancelled."""
    from flaude_action.image_choice import choose_image

    report = step.report
    work = choose_image(inputs, step.workspace, trusted=trusted, say=report.quote, learned=report.mask)
    if not inputs.base_image and not inputs.dockerfile:
        return await unless_cancelled(work, cancellation)
    with report.group("The machine's image"):
        return await unless_cancelled(work, cancellation)


async def _with_links(
    config: MachineConfig, *, event: Event, token: SecretStr | None, report: Report
) -> MachineConfig:
    """The job's last secrets: links to private repositories, good for minutes."""
    from flaude_action.archive_links import with_links
    from flaude_action.github import GitHub

    async with GitHub(event.api_url, token) as github:
        complete = await with_links(config, event, github)
    for repo in complete.repositories:
        report.mask(repo.secrets())
    return complete


def _fly(environ: Mapping[str, str], token: SecretStr | str | None) -> Fly:
    from flaude_action.fly import Fly
    from flaude_action.fly_access import base_urls

    flaps, api = base_urls(environ)
    return Fly(token or "", flaps_url=flaps, api_url=api, user_agent=f"flaude-action/{__version__}")


async def post(environ: Mapping[str, str], report: Report) -> int:
    """The stage after the job: destroy what `main` could not. Never fails the job."""
    state = load_state(environ)
    if not state.get("nonce") or state.get("cleanup") in ("destroyed", "already_gone"):
        return EXIT_OK
    try:
        report.mask(given_secrets(environ))
        report.app = state.get("app") or given_inputs(environ).get("fly_app", "")
        if report.app:
            await _reap(environ, state["nonce"], report)
        else:
            warn(report, "cleanup_failed", "What the step left for this stage names no Fly app.")
    except Exception as error:
        trouble = known(error, report)
        warn(report, "cleanup_failed", f"{trouble.message} {trouble.details}")
    return EXIT_OK


async def _reap(environ: Mapping[str, str], nonce: str, report: Report) -> None:
    """Destroy every machine that carries this step's nonce, and say so."""
    from flaude_action.launch import META_NONCE
    from flaude_action.machine import destroy

    async with _fly(environ, given_inputs(environ).get("fly_api_token")) as fly:
        for machine in await fly.list_machines(report.app, metadata={META_NONCE: nonce}):
            left = may_be_left(await destroy(fly, report.app, machine))
            for warned in left:
                warn(report, *warned)
            if not left:
                report.say(f"Machine {machine.id} was still there and is destroyed.")
