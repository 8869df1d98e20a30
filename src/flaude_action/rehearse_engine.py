"""What plays Fly's machines in a rehearsal: containers when they can be had soon, else plain processes.

The containers' image is `rehearse_image`'s; what happens on the machines is `rehearse`'s.
"""

from __future__ import annotations

import asyncio
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaude_action.rehearse_image import (
    IMAGE_NAME,
    SOURCES,
    Unavailable,
    dockerfile_argument,
    ensure_image,
    find_base,
)
from flaude_guest.protocol import GUEST_COMMAND, IMAGE_LABEL, PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from localfly.serve import BackendName


@dataclass(frozen=True)
class Engine:
    """`image` is what the step's input says; `programs` is localfly's images file for processes."""

    backend: BackendName
    image: str
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
            return Engine("docker", ensure_image(base, say))
        except Unavailable as reason:
            if wanted == "docker":
                raise
            because = f"because {reason}"
    say(f"Machines are played by processes of this computer, {because}.")
    return _processes(cache, say)


def _processes(cache: Path, say: Callable[[str], None]) -> Engine:
    """The guest as plain processes: what has a fixed place in the image lies in the machine's own folder."""
    claude = _claude(cache, say)
    commands = cache / "commands"
    commands.mkdir(parents=True, exist_ok=True)
    command = commands / GUEST_COMMAND
    run = shlex.join(["env", f"PYTHONPATH={SOURCES}", sys.executable, "-m", "flaude_guest.verbs"])
    command.write_text(f'#!/bin/sh\nexec {run} "$@"\n')
    command.chmod(0o755)
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
    return Engine("process", image, {image: program})


def _claude(cache: Path, say: Callable[[str], None]) -> str:
    """Claude Code from PATH, else the pinned version from npm, kept in the cache folder."""
    if found := shutil.which("claude"):
        say(f"Claude Code is {found}.")
        return found
    version = dockerfile_argument("CLAUDE_CODE_VERSION")
    package = "@anthropic-ai/claude-code-linux-" + {"aarch64": "arm64"}.get(platform.machine(), "x64")
    folder = cache / f"claude-{version}"
    program = folder / "node_modules" / package / "claude"
    if not program.exists():
        _npm_install(f"{package}@{version}", folder, say)
    say(f"Claude Code is {program}.")
    return str(program)


def _npm_install(package: str, folder: Path, say: Callable[[str], None]) -> None:
    npm = shutil.which("npm")
    if not npm:
        raise Unavailable("neither `claude` nor `npm` is on PATH")
    say(f"Installing {package} into {folder} …")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--silent", "--no-save", "--prefix", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Unavailable(f"npm could not install {package}:\n{done.stderr.strip()[-1000:]}")
