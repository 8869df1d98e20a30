"""The verb `rehearse`: the real step, twice; once it must succeed, once it must fail.

Real are flaude-action, its guest, git and Claude Code. Fly is played by `localfly`, GitHub's git host by
`localfly.githost` and the model by a script, each on loopback, unless the user's own Fly is to be used
(`own_fly`). The runs are in `scenes`, what a step is given in `step`, what stands around it in `stage`, what
runs its machines in `engine`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from flaude_action.errors import FlyAPIError
from flaude_action.rehearsal.engine import Engine, choose_engine
from flaude_action.rehearsal.folder import own_folder
from flaude_action.rehearsal.image import Unavailable
from flaude_action.rehearsal.model import about_the_model, own_model, scripted_model
from flaude_action.rehearsal.own_fly import OwnFly, about_fly, own_fly
from flaude_action.rehearsal.page import heading, log_line, say, show_ending, show_text, verdict
from flaude_action.rehearsal.scenes import ON_OWN_FLY, SCENES, Played, Scene
from flaude_action.rehearsal.stage import Stage, set_stage
from flaude_action.rehearsal.step import Ending, run_step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROMPT = "Two of this repository's tests fail. Find the cause, fix it and run the tests again."


async def rehearse(*, backend: str | None, cache: Path, keep: bool) -> int:
    """Rehearse both endings; 0 if each was the one it must be.

    `backend` is `docker`, `process` or None for the best there is, first of all the user's own Fly. All files
    are made in `cache`; `keep` leaves the machines' own there too.
    """
    fly = own_fly(os.environ) if backend is None else None
    try:
        if fly:
            say(fly.told)
            with own_folder(cache) as folder:
                return await _on_own_fly(fly, folder)
        engine = await choose_engine(backend, cache, say)
        with own_folder(cache) as folder:
            return await _on_this_computer(engine, folder, keep=keep)
    except Unavailable as reason:
        say(f"No rehearsal: {reason}.")
        return 1


async def _on_this_computer(engine: Engine, folder: Path, *, keep: bool) -> int:
    say(about_fly(os.environ))
    say(about_the_model(os.environ, engine.backend))
    say(f"The files of this rehearsal go to {folder}. {engine.leaves}")
    played = []
    async with set_stage(engine, folder, keep=keep) as stage:
        for scene in SCENES:
            own = own_model(os.environ, engine.backend) if scene.conclusion == "success" else {}
            async with nullcontext(own) if own else scripted_model(scene.turns()) as model:
                played.append(await _play(scene, stage, model, folder / scene.name))
        made, left = await stage.machines_made(), len(await stage.machines())
    return _recap(
        played, f"{made} machines were made, {left} are left; the servers are stopped", left, folder
    )


async def _on_own_fly(fly: OwnFly, folder: Path) -> int:
    say(about_the_model(os.environ, "fly"))
    say(f"The files of this rehearsal go to {folder}.")
    stage, model = fly.stage(folder), own_model(os.environ, "fly")
    played = [await _play(scene, stage, model, folder / scene.name) for scene in ON_OWN_FLY]
    made = [each.ending.outputs["machine_id"] for each in played if each.ending.outputs.get("machine_id")]
    try:
        left = await fly.left(made)
        machines = f"{len(made)} machines were made, {left} are left at Fly"
    except FlyAPIError as error:
        left = len(made)
        machines = f"{left} machines were made, and Fly does not say which are left ({error.details})"
    return _recap(played, machines, left, folder)


async def _play(scene: Scene, stage: Stage, model: Mapping[str, str], folder: Path) -> Played:
    heading(scene.title)
    begun = time.monotonic()
    inputs = {"prompt": PROMPT, "timeout": "5m", **stage.inputs, **model}
    if scene.more_setup:
        inputs["setup"] = f"{stage.inputs.get('setup', '')}\n{scene.more_setup}"
    ending = await run_step(
        folder, event=stage.event, inputs=inputs, environment=stage.environment, show=log_line
    )
    played = Played(scene, ending, time.monotonic() - begun)
    show_ending(ending)
    if patch := ending.outputs.get("patch_file"):
        show_text(f"The work, in {patch}", (ending.workspace / patch).read_text().rstrip())
    if played.as_it_must and scene.conclusion == "success":
        show_text("The pull request's tests, with that patch applied here", _proof(stage, ending))
    return played


def _proof(stage: Stage, ending: Ending) -> str:
    """What the tests say about the delivered work, away from the machine that made it."""
    patch = ending.workspace / ending.outputs["patch_file"]
    subprocess.run(["git", "-C", stage.checkout, "apply", "--include=*.py", patch], check=True)
    tests = subprocess.run(
        [sys.executable, "-B", "-m", "unittest", "-q"], cwd=stage.checkout, capture_output=True, text=True
    )
    return tests.stderr.strip()


def _recap(played: list[Played], machines: str, left: int, folder: Path) -> int:
    heading("Recap")
    for each in played:
        verdict(each.as_it_must, each.told)
        if not each.as_it_must:
            say(f"    It had to be {each.scene.conclusion} {each.scene.error_type}".rstrip() + ".")
        say(f"    log, events, report: {each.ending.workspace / '.flaude'}")
    verdict(left == 0, f"{machines}.")
    say(f"Everything else is in {folder}, until the next rehearsal.")
    return 0 if left == 0 and all(each.as_it_must for each in played) else 1
