"""A workflow run by the real `act`: a repository with this action in it, one job, what came of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml
from tests.support import engines
from tests.support.engines import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHIPPED = (".dockerignore", "Dockerfile", "action.yml", "docker", "requirements/action.lock", "src")
GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"} | {
    f"GIT_{who}_{what}": f"{what}@example.test"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


@dataclass(frozen=True)
class Workflow:
    """How act's one job ended: its exit code, its log, and the step's outputs as a later step saw them."""

    exit_code: int
    log: str
    outputs: dict[str, str]
    workspace: Path


def run_workflow(folder: Path, inputs: Mapping[str, str], environment: Mapping[str, str]) -> Workflow:
    """Commit this tree's action into a new repository in `folder` and run `uses: ./` there with act.

    The steps after it run whatever happened: the first writes all outputs down, the second opens the log
    file. The job's network is the host's, so servers on loopback can be reached.
    """
    repository = folder / "repository"
    _copy_action(repository)
    workflow = _workflow(inputs, environment)
    (repository / ".github" / "workflows").mkdir(parents=True)
    (repository / ".github" / "workflows" / "test.yml").write_text(yaml.safe_dump(workflow, sort_keys=False))
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=repository, env=os.environ | GIT, check=True)
    # A home of its own: act asks first-time users which images they like, and keeps caches there.
    home = folder / "home"
    (home / ".config" / "act").mkdir(parents=True)
    (home / ".config" / "act" / "actrc").touch()
    with engines.act_lock():
        done = subprocess.run(
            [
                *(engines.act(), "push", "--bind", "--rm", "--pull=false", "--no-cache-server"),
                *("-P", f"ubuntu-latest={engines.base_image()}", "--container-daemon-socket", "-"),
            ],
            cwd=repository,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    written = repository / "outputs.json"
    outputs: dict[str, str] = json.loads(written.read_text()) if written.exists() else {}
    return Workflow(done.returncode, done.stdout, outputs, repository)


def _copy_action(repository: Path) -> None:
    for name in SHIPPED:
        target = repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, target)
    # The runner builds with default arguments, and this machine may reach no container registry.
    dockerfile = repository / "Dockerfile"
    base = "ARG BASE_IMAGE=python:3.13-slim\n"
    assert base in dockerfile.read_text()
    dockerfile.write_text(dockerfile.read_text().replace(base, f"ARG BASE_IMAGE={engines.base_image()}\n"))


def _workflow(inputs: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, object]:
    steps = [
        {"uses": "actions/checkout@v6"},
        {"id": "flaude", "uses": "./", "with": dict(inputs), "env": dict(environment)},
        {
            "if": "always()",
            "run": 'printf "%s" "$OUTPUTS" > outputs.json',
            "env": {"OUTPUTS": "${{ toJSON(steps.flaude.outputs) }}"},
        },
        {
            "if": "always()",
            "run": 'echo "The step ended as $CONCLUSION."; test -z "$LOG" || tail -n 3 "$LOG"',
            "env": {
                "CONCLUSION": "${{ steps.flaude.outputs.conclusion }}",
                "LOG": "${{ steps.flaude.outputs.log_file }}",
            },
        },
    ]
    return {"name": "test", "on": "push", "jobs": {"work": {"runs-on": "ubuntu-latest", "steps": steps}}}
