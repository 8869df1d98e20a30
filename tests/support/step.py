"""A step as a workflow meets it: the real `main` verb on localfly, a git host and a scripted model."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import engines
from tests.support.fly import LocalFlyHandle, localfly

from flaude_action import DEFAULT_IMAGE
from flaude_action.rehearsal.step import read_file_entries
from localfly.githost import PRIVATE_TOKEN_FILE, serve_githost
from localfly.messages import serve_messages

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Mapping, Sequence

    from localfly.github_archive import Archives

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "flaude-machine:test"
REPOSITORY = "acme/widget"
CREDENTIAL = "sk-ant-oat01-" + "c0ffee" * 6
GITHUB_TOKEN = "ghs_" + "1234abcd" * 5
FILES = ("OUTPUT", "STATE", "STEP_SUMMARY")

_ANNOTATION = re.compile(r"^::(error|warning|notice) ?([^:]*)::(.*)$")


def bash(command: str) -> dict[str, Any]:
    """One turn of the model: run a command."""
    return {"tools": [{"name": "Bash", "input": {"command": command}}]}


def script(*turns: dict[str, Any] | str) -> dict[str, Any]:
    """A conversation; a text is a turn that only talks."""
    return {"turns": [{"text": turn} if isinstance(turn, str) else turn for turn in turns]}


FIX = script(bash("echo fixed > answer.txt"), "Done: the answer is written.")


@dataclass
class Ended:
    """What is left of a step: the log as the runner read it, outputs, annotations as (level, text)."""

    exit_code: int
    log: str
    outputs: dict[str, str]
    annotations: list[tuple[str, str]]
    summary: str
    workspace: Path
    state: dict[str, str]
    seconds: float

    def of_level(self, level: str) -> list[str]:
        return [text for kind, text in self.annotations if kind == level]


@dataclass
class Stage:
    """Everything around a step. `image` is what the input says, `payload` the event's in place of a pull
    request's from the repository itself."""

    fly: LocalFlyHandle
    githost: str
    model: str
    folder: Path
    sha: str
    image: str = IMAGE
    steps: int = field(default=0)
    payload: dict[str, Any] | None = None

    def variables(self, inputs: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
        """The runner's environment; an input given as None is left out."""
        self.steps += 1
        home = self.folder / f"step-{self.steps}"
        workspace = home / "workspace"
        workspace.mkdir(parents=True)
        for name in FILES:
            (home / name).touch()
        (home / "event.json").write_text(json.dumps(self._event() if self.payload is None else self.payload))
        given: dict[str, str | None] = {
            "prompt": "Fix it.",
            "claude_code_oauth_token": CREDENTIAL,
            "anthropic_base_url": self.model,
            "github_token": GITHUB_TOKEN,
            "fly_api_token": self.fly.token,
            "fly_app": self.fly.app,
            "image": self.image,
            "timeout": "60s",
        } | dict(inputs)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT / "src"),
            "GITHUB_ACTION": "fix",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(home / "event.json"),
            "GITHUB_JOB": "job",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "77",
            "GITHUB_SERVER_URL": self.githost,
            "GITHUB_API_URL": f"{self.githost}/api/v3",
            "GITHUB_SHA": self.sha,
            "GITHUB_WORKSPACE": str(workspace),
            "FLY_FLAPS_BASE_URL": self.fly.flaps_url,
            "FLY_API_BASE_URL": self.fly.api_url,
            **{f"GITHUB_{name}": str(home / name) for name in FILES},
            **{f"INPUT_{name.upper()}": value for name, value in given.items() if value is not None},
            **environ,
        }

    def make_private(self, token: str) -> None:
        """Who has this token may read the repository, nobody else."""
        (self.folder / "repositories" / f"{REPOSITORY}.git" / PRIVATE_TOKEN_FILE).write_text(token)

    def _event(self) -> dict[str, Any]:
        private = (self.folder / "repositories" / f"{REPOSITORY}.git" / PRIVATE_TOKEN_FILE).exists()
        repository = {"full_name": REPOSITORY, "private": private, "default_branch": "main"}
        side = {"sha": self.sha, "repo": repository}
        return {
            "action": "opened",
            "number": 7,
            "pull_request": {"number": 7, "head": side, "base": side},
            "repository": repository,
        }

    async def start(self, *, environ: Mapping[str, str] | None = None, **inputs: str | None) -> Running:
        """Start `main`."""
        return await launch(self.variables(inputs, environ or {}))

    async def step(self, *, environ: Mapping[str, str] | None = None, **inputs: str | None) -> Ended:
        """Run `main` to its end."""
        return await (await self.start(environ=environ, **inputs)).ended()

    async def machines_left(self) -> list[str]:
        """Ids of machines that are not destroyed."""
        answer = await self.fly.call("GET", "/machines")
        return [machine["id"] for machine in answer.json() if machine["state"] != "destroyed"]


class Running:
    """A step in progress."""

    def __init__(self, process: asyncio.subprocess.Process, variables: dict[str, str]) -> None:
        self.process, self.variables = process, variables
        self.lines: list[str] = []
        self._began = time.monotonic()

    async def until(self, text: str) -> str:
        """Read the log up to a line with this text."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            self.lines.append(raw.decode().rstrip("\n"))
            if text in self.lines[-1]:
                return self.lines[-1]
        raise AssertionError(f"no line with {text!r} in:\n" + "\n".join(self.lines))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> Ended:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            self.lines.append(raw.decode().rstrip("\n"))
        exit_code = await self.process.wait()
        print("\n".join(self.lines))  # pytest shows it with a failure
        found = filter(None, map(_ANNOTATION.match, self.lines))
        variables = self.variables
        output, state, summary = (Path(variables[f"GITHUB_{name}"]) for name in FILES)
        return Ended(
            exit_code,
            "\n".join(self.lines),
            read_file_entries(output),
            [(one[1], f"{one[2]} {one[3]}") for one in found],
            summary.read_text(),
            Path(self.variables["GITHUB_WORKSPACE"]),
            read_file_entries(state),
            time.monotonic() - self._began,
        )

    async def post(self, **environ: str) -> str:
        """Run `post` as the end of the job does; what it said."""
        state = read_file_entries(Path(self.variables["GITHUB_STATE"]))
        after = {f"STATE_{name}": value for name, value in state.items()}
        return await post({**self.variables, **after, **environ})


async def post(variables: dict[str, str]) -> str:
    """The verb `post` with exactly this environment, which fails no job; what it said."""
    words = [sys.executable, "-m", "flaude_action", "post"]
    run = partial(subprocess.run, env=variables, capture_output=True, text=True, timeout=60)
    done = await asyncio.to_thread(run, words)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


async def launch(variables: dict[str, str], *words: str) -> Running:
    """The verb `main`, or another program of Python's, with exactly this environment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(words or ("-m", "flaude_action", "main")),
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        limit=1 << 24,
    )
    return Running(process, variables)


def process_images(folder: Path, claude: Path | str) -> dict[str, dict[str, Any]]:
    """The images file's entries for our guest as plain processes: the tests' own and the default one."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    guest = commands / "flaude-guest"
    guest.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT / "src"} exec {sys.executable} -m flaude_guest "$@"\n')
    guest.chmod(0o755)
    environ = {
        "FLAUDE_RUN_DIR": "{root}/run",
        "FLAUDE_STATE_DIR": "{root}/state",
        "FLAUDE_WORK_DIR": "{root}/workspace",
        "FLAUDE_HOME": "{root}/home",
        "FLAUDE_CLAUDE": str(claude),
    }
    image = {
        "argv": [str(guest)],
        "path": [str(commands)],
        "labels": {"flaude.guest.protocol": "1"},
        "env": environ,
    }
    return {IMAGE: image, DEFAULT_IMAGE: image}


def make_repository(
    folder: Path, files: Mapping[str, str] | None = None, branches: Sequence[str] = ()
) -> str:
    """`acme/widget.git` below `folder`, with a README and these files; the commit's SHA.

    `main` is the default branch, the others are at the same commit.
    """
    source = folder / "source"
    for name, text in {"README.md": "A widget.\n", **(files or {})}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    git = ["git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    more = [["branch", name] for name in branches]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Begin"], *more):
        subprocess.run([*git, *words], check=True)
    bare = folder / "repositories" / f"{REPOSITORY}.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(source), str(bare)], check=True)
    return subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()


@asynccontextmanager
async def stage(
    folder: Path,
    turns: Mapping[str, Any] = FIX,
    *,
    image: str = "",
    images: Mapping[str, Any] | None = None,
    archives: Archives | None = None,
    files: Mapping[str, str] | None = None,
    branches: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[Stage]:
    """Set everything up. With `image`, machines are containers of it; else processes with the real CLI."""
    sha = make_repository(folder, files, branches)
    backend = "docker" if image else "process"
    images = None if image else process_images(folder, engines.claude()) | dict(images or {})
    async with (
        serve_githost(folder / "repositories", archives=archives) as githost,
        serve_messages(dict(turns)) as model,
        localfly(backend=backend, images=images, **settings) as fly,
    ):
        yield Stage(fly, githost, model, folder, sha, image or IMAGE)
