"""The verb `rehearse`: the real step, twice, on this computer alone; once it must succeed, once it must fail.

Real are flaude-action, its guest, git and Claude Code. Fly is played by `localfly`, GitHub's git host by
`localfly.githost` and the model by a script, each on loopback. What a step is given is in `step`,
what stands around it in `stage`, what runs its machines in `engine`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from flaude_action.rehearsal.engine import Engine, choose_engine
from flaude_action.rehearsal.image import Unavailable
from flaude_action.rehearsal.model import about_the_model, own_model, scripted_model
from flaude_action.rehearsal.page import heading, log_line, say, show_ending, show_text, verdict
from flaude_action.rehearsal.stage import APP, EXAMPLE, Stage, set_stage
from flaude_action.rehearsal.step import Ending, run_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PROMPT = "Two tests of this pull request fail. Find the cause, fix it and run the tests again."


@dataclass(frozen=True)
class Scene:
    """One run: the model's script (a file of the example) and what the step must come to."""

    script: str
    title: str
    conclusion: str
    error_type: str = ""

    def turns(self) -> dict[str, Any]:
        """The model's part."""
        script: dict[str, Any] = json.loads((EXAMPLE / f"{self.script}.json").read_text())
        return script


SCENES = (
    Scene("fixes", "Claude Code finds the bug and fixes it", "success"),
    Scene("runs_out_of_credit", "The credit runs out in the middle of the work", "failure", "model_billing"),
)


@dataclass(frozen=True)
class Played:
    """A scene and what it came to."""

    scene: Scene
    ending: Ending
    seconds: float

    @property
    def as_it_must(self) -> bool:
        outputs = self.ending.outputs
        return (
            (self.ending.exit_code == 0) == (self.scene.conclusion == "success")
            and outputs.get("conclusion") == self.scene.conclusion
            and outputs.get("error_type") == self.scene.error_type
        )

    @property
    def told(self) -> str:
        outputs = self.ending.outputs
        cause = (
            f", {outputs['error_type']}: {outputs.get('error_message')}" if outputs.get("error_type") else ""
        )
        return (
            f"{self.scene.title}: {outputs.get('conclusion')}, exit code {self.ending.exit_code}, "
            f"{self.seconds:.1f} s{cause}"
        )


async def rehearse(*, backend: str | None, cache: Path, keep: bool) -> int:
    """Rehearse both endings; 0 if each was the one it must be.

    `backend` is `docker`, `process` or None for the best there is. All files are made in `cache`; `keep`
    leaves the machines' own there too.
    """
    try:
        engine = await choose_engine(backend, cache, say)
        with _own_folder(cache) as folder:
            return await _both(engine, folder, keep=keep)
    except Unavailable as reason:
        say(f"No rehearsal: {reason}.")
        return 1


async def _both(engine: Engine, folder: Path, *, keep: bool) -> int:
    say(_about_fly(os.environ))
    say(about_the_model(os.environ, engine.backend))
    say(f"The files of this rehearsal go to {folder}. {engine.leaves}")
    async with set_stage(engine, folder, keep=keep) as stage:
        played = [await _play(scene, engine, stage, folder / scene.script) for scene in SCENES]
        made, left = await stage.machines_made(), len(await stage.machines())
    return _recap(played, made, left, folder)


async def _play(scene: Scene, engine: Engine, stage: Stage, folder: Path) -> Played:
    heading(scene.title)
    begun = time.monotonic()
    own = own_model(os.environ, engine.backend) if scene.conclusion == "success" else {}
    async with nullcontext(own) if own else scripted_model(scene.turns()) as model:
        ending = await run_step(
            folder,
            event=stage.event,
            inputs={
                "prompt": PROMPT,
                "fly_api_token": f"rehearsal-{secrets.token_hex(16)}",
                "fly_app": APP,
                "image": engine.image,
                "timeout": "5m",
                **model,
            },
            environment=stage.environment,
            show=log_line,
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
    subprocess.run(["git", "-C", stage.checkout, "apply", patch], check=True)
    tests = subprocess.run(
        [sys.executable, "-B", "-m", "unittest", "-q"], cwd=stage.checkout, capture_output=True, text=True
    )
    return tests.stderr.strip()


@contextmanager
def _own_folder(cache: Path) -> Iterator[Path]:
    """An empty folder in the cache: `rehearsal`, or one with a number while another rehearsal is in that.

    Raises Unavailable when the cache cannot be one.
    """
    cache, number = cache.resolve(), 1
    with ExitStack() as held:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            while not _locked(held.enter_context((cache / f"rehearsal-{number}.lock").open("w"))):
                number += 1
            folder = cache / ("rehearsal" if number == 1 else f"rehearsal-{number}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        except OSError as problem:
            raise Unavailable(f"{problem.filename} cannot be used ({problem.strerror})") from problem
        yield folder


def _locked(file: TextIO) -> bool:
    """Whether the file is now ours, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _about_fly(environ: Mapping[str, str]) -> str:
    if environ.get("FLY_API_TOKEN"):
        return (
            "Fly is played by localfly although FLY_API_TOKEN is set: Fly's machines could not reach the "
            "example repository, which is on this computer. `flaude-action doctor` tries your app for real."
        )
    return "Fly is played by localfly, and GitHub's git host by a server of this computer."


def _recap(played: list[Played], made: int, left: int, folder: Path) -> int:
    heading("Recap")
    for each in played:
        verdict(each.as_it_must, each.told)
        if not each.as_it_must:
            say(f"    It had to be {each.scene.conclusion} {each.scene.error_type}".rstrip() + ".")
        say(f"    log, events, report: {each.ending.workspace / '.flaude'}")
    verdict(left == 0, f"{made} machines were made, {left} are left; the servers are stopped.")
    say(f"Everything else is in {folder}, until the next rehearsal.")
    return 0 if left == 0 and all(each.as_it_must for each in played) else 1
