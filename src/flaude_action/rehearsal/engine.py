"""What plays Fly's machines in a rehearsal: containers when they can be had soon, else plain processes.

The containers' image is `image`'s; what happens on the machines is `rehearse`'s.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaude_action import machine_dockerfile
from flaude_action.machine_dockerfile import DOCKERFILE, SOURCES
from flaude_action.rehearsal.image import (
    IMAGE_NAME,
    Unavailable,
    ensure_image,
    find_base,
    npm_registry,
)
from flaude_guest.protocol import GUEST_COMMAND, IMAGE_LABEL, PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from localfly.serve import BackendName


@dataclass(frozen=True)
class Engine:
    """`image` is what the step's input says; `programs` is localfly's images file for processes.

    `leaves` says what stays on this computer, of what was made for the machines.
    """

    backend: BackendName
    image: str
    leaves: str
    programs: dict[str, Any] = field(default_factory=dict)


async def choose_engine(wanted: str | None, cache: Path, say: Callable[[str], None]) -> Engine:
    """The engine asked for (`docker`, `process`), or the best there is. The first line said is which and why.

    Raises Unavailable when there is none.
    """
    return await asyncio.to_thread(_choose, wanted, cache, say)


def _choose(wanted: str | None, cache: Path, say: Callable[[str], None]) -> Engine:
    if sys.platform != "linux":
        raise Unavailable("it needs Linux, as GitHub's runners do for container actions")
    because = "as asked for"
    if wanted != "process":
        try:
            base = find_base()
            say(f"Machines are played by containers, because a Docker engine answers and has {base}.")
            image = ensure_image(base, say)
            return Engine("docker", image, f"The Docker engine keeps the image {image} for the next time.")
        except Unavailable as reason:
            if wanted == "docker":
                raise
            because = f"because {reason}"
    say(f"Machines are played by processes of this computer, {because}.")
    try:
        return _processes(cache, say)
    except OSError as problem:
        raise Unavailable(f"{problem.filename} cannot be used ({problem.strerror})") from problem


def _processes(cache: Path, say: Callable[[str], None]) -> Engine:
    """The guest as plain processes: what has a fixed place in the image lies in the machine's own folder."""
    cache = cache.resolve()  # a machine's commands run in a folder of their own
    claude = _claude(cache, say)
    commands = cache / "commands"
    commands.mkdir(parents=True, exist_ok=True)
    command = commands / GUEST_COMMAND
    run = shlex.join(["env", f"PYTHONPATH={SOURCES}", sys.executable, "-m", "flaude_guest.verbs"])
    part = command.with_name(f"{GUEST_COMMAND}.{os.getpid()}")  # another rehearsal may run it right now
    part.write_text(f'#!/bin/sh\nexec {run} "$@"\n')
    part.chmod(0o755)
    part.replace(command)
    image = f"{IMAGE_NAME}:local"
    program = {
        "argv": [sys.executable, "-m", "flaude_guest.supervisor"],
        "path": [str(commands)],
        "labels": {IMAGE_LABEL: str(PROTOCOL)},
        "env": {
            "PYTHONPATH": str(SOURCES),
            "FLAUDE_RUN_DIR": "{root}/run",
            "FLAUDE_STATE_DIR": "{root}/state",
            "FLAUDE_WORK_DIR": "{root}/workspace",
            "FLAUDE_HOME": "{root}/home",
            "FLAUDE_CLAUDE": claude,
        },
    }
    return Engine("process", image, f"Nothing is installed outside {cache}.", {image: program})


def _claude(cache: Path, say: Callable[[str], None]) -> str:
    """Claude Code from PATH, else the pinned version in the cache folder, where it may be installed first."""
    if found := shutil.which("claude"):
        say(f"Claude Code is {found}.")
        return found
    # Where npm would put it: what one of us and npm has installed, the other finds.
    folder = cache / f"claude-{machine_dockerfile.default('CLAUDE_CODE_VERSION')}"
    program = folder / "node_modules" / "@anthropic-ai" / "claude-code-linux-x64" / "claude"
    if not program.exists():
        _install_claude(program, say)
    say(f"Claude Code is {program}.")
    return str(program)


def _install_claude(program: Path, say: Callable[[str], None]) -> None:
    if platform.machine() != "x86_64":
        raise Unavailable("there is no `claude` on PATH, and the pinned one is for x86-64")
    version = machine_dockerfile.default("CLAUDE_CODE_VERSION")
    registry = npm_registry() or machine_dockerfile.default("NPM_REGISTRY")
    say(f"Installing Claude Code {version} into {program.parent}, from npm's registry …")
    program.parent.mkdir(parents=True, exist_ok=True)
    part = program.with_name(f"claude.{os.getpid()}.part")
    installer = [sys.executable, "-I", str(DOCKERFILE.with_name("install_claude.py"))]
    done = subprocess.run(
        [*installer, registry, version, machine_dockerfile.default("CLAUDE_CODE_INTEGRITY"), str(part)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Unavailable(f"Claude Code could not be installed ({words[-1]})")
    part.replace(program)
