"""One step as the Actions runner would run it: its environment and files before, its outputs after.

How its log is shown is `log`'s; which steps there are and what they should come to is `rehearse`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaude_action.rehearsal.log import Annotation, StepLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCES = Path(__file__).resolve().parents[2]
STEP = "flaude"
_FILES = ("OUTPUT", "STATE", "ENV", "PATH", "STEP_SUMMARY")
_HEREDOC = re.compile(r"(?P<name>[^=]+?)<<(?P<end>.+)")


@dataclass(frozen=True)
class Ending:
    """How a step ended, as the workflow and its reader see it. `workspace` is where its files lie."""

    exit_code: int
    outputs: dict[str, str]
    annotations: list[Annotation]
    summary: str
    workspace: Path


async def run_step(
    folder: Path,
    *,
    event: dict[str, Any],
    inputs: Mapping[str, str],
    environment: Mapping[str, str],
    show: Callable[[str], None],
) -> Ending:
    """Run the verb `main`, then `post` as the end of the job does; every line goes to `show` as it comes.

    `event` is a pull_request payload; `environment` adds to (or replaces) the runner's variables.
    """
    variables = {**_runner_variables(folder, event), **environment}
    variables |= {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
    log = StepLog()
    exit_code = await _verb("main", variables, log, show)
    state = read_file_entries(folder / "STATE")
    after = {f"STATE_{name}": value for name, value in state.items()}
    await _verb("post", {**variables, **after}, log, show)
    return Ending(
        exit_code,
        read_file_entries(folder / "OUTPUT"),
        log.annotations,
        log.masked((folder / "STEP_SUMMARY").read_text()),
        folder / "workspace",
    )


async def _verb(verb: str, variables: Mapping[str, str], log: StepLog, show: Callable[[str], None]) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "flaude_action", verb),
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        limit=1 << 20,
    )
    assert process.stdout is not None  # noqa: S101 - given as PIPE above
    try:
        async for line in process.stdout:
            for shown in log.feed(line.decode("utf-8", "replace").rstrip("\r\n")):
                show(shown)
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _runner_variables(folder: Path, event: dict[str, Any]) -> dict[str, str]:
    """As far as steps read them: https://docs.github.com/en/actions/reference/workflows-and-actions/variables."""
    workspace, home, temp = (folder / name for name in ("workspace", "home", "temp"))
    for each in (workspace, home, temp):
        each.mkdir(parents=True)
    for name in _FILES:
        (folder / name).touch()
    (folder / "event.json").write_text(json.dumps(event))
    pull = event["pull_request"]
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(SOURCES),
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION": STEP,
        "GITHUB_ACTOR": event["sender"]["login"],
        "GITHUB_TRIGGERING_ACTOR": event["sender"]["login"],
        "GITHUB_BASE_REF": pull["base"]["ref"],
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_HEAD_REF": pull["head"]["ref"],
        "GITHUB_JOB": "fix",
        "GITHUB_REF": f"refs/pull/{event['number']}/merge",
        "GITHUB_REF_NAME": f"{event['number']}/merge",
        "GITHUB_REF_TYPE": "branch",
        "GITHUB_REPOSITORY": event["repository"]["full_name"],
        "GITHUB_REPOSITORY_ID": str(event["repository"]["id"]),
        "GITHUB_REPOSITORY_OWNER": event["repository"]["owner"]["login"],
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_RUN_ID": "1",
        "GITHUB_RUN_NUMBER": "1",
        "GITHUB_SHA": pull["head"]["sha"],
        "GITHUB_WORKFLOW": "rehearsal",
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_ARCH": "X64",
        "RUNNER_OS": "Linux",
        "RUNNER_TEMP": str(temp),
        **{f"GITHUB_{name}": str(folder / name) for name in _FILES},
    }


def read_file_entries(path: Path) -> dict[str, str]:
    """The `name=value` and `name<<DELIMITER` entries of a runner file.

    Raises ValueError where the runner would fail the step.
    """
    entries: dict[str, str] = {}
    lines = path.read_text().split("\n")
    while lines:
        line = lines.pop(0)
        if found := _HEREDOC.match(line):
            if found["end"] not in lines:
                raise ValueError(f"{path.name}: the delimiter {found['end']!r} is missing")
            end = lines.index(found["end"])
            entries[found["name"]] = "\n".join(lines[:end])
            del lines[: end + 1]
        elif line:
            name, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"{path.name}: invalid line {line!r}")
            entries[name] = value
    return entries
