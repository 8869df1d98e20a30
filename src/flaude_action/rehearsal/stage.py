"""Everything around the step in a rehearsal, on loopback: the example repository, its git host, and Fly.

The model is each scene's own and is served by `rehearse`; who plays the machines is `engine`'s. The stage on
the user's own Fly is `own_fly`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from flaude_action.http_body import AS_IT_IS, whole_answer
from flaude_action.json_document import json_of
from localfly.githost import serve_githost
from localfly.serve import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flaude_action.rehearsal.engine import Engine

EXAMPLE = Path(__file__).resolve().parent / "example"
APP = "local"
ANSWER_MAX_BYTES = 64 * 1024 * 1024
"""localfly keeps every request with its body."""
ANSWER_S = 30.0
_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "octocat" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "octocat@users.noreply.github.com" for who in ("AUTHOR", "COMMITTER")},
}


@dataclass(frozen=True)
class Stage:
    """What a step meets: its event, environment and inputs; in `checkout` its work is tried."""

    event: dict[str, Any]
    checkout: Path
    environment: dict[str, str]
    inputs: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class LocalStage(Stage):
    """With localfly, whose address is `fly`."""

    fly: str

    async def machines(self) -> list[dict[str, Any]]:
        """The machines there are now, as Fly lists them."""
        machines = await self._ask(f"/v1/apps/{APP}/machines")
        return [machine for machine in machines if machine["state"] != "destroyed"]

    async def machines_made(self) -> int:
        """How many were created since the beginning."""
        requests = await self._ask("/_localfly/requests")
        path = f"/v1/apps/{APP}/machines"
        return sum(
            each["method"] == "POST" and each["path"] == path and each["status"] == 200 for each in requests
        )

    async def _ask(self, path: str) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(headers={"authorization": "Bearer rehearsal", **AS_IT_IS}) as client:
            request = client.build_request("GET", self.fly + path)
            answer, body = await whole_answer(client, request, most=ANSWER_MAX_BYTES, seconds=ANSWER_S)
        answer.raise_for_status()
        found: list[dict[str, Any]] = json_of(body)
        return found


@asynccontextmanager
async def set_stage(engine: Engine, folder: Path, *, keep: bool) -> AsyncIterator[LocalStage]:
    """Make the repository in `folder`, serve it and Fly until the block ends; `keep` leaves its state."""
    event = await asyncio.to_thread(_example_repository, folder)
    state = folder / "localfly"
    state.mkdir()
    try:
        images = state / "images.json"
        images.write_text(json.dumps(engine.programs))
        async with (
            serve_githost(folder / "repositories") as githost,
            serving(engine.backend, state=state / "fly", images=images) as fly,
        ):
            environment = {
                "GITHUB_SERVER_URL": githost,
                "GITHUB_API_URL": f"{githost}/api/v3",
                "FLY_FLAPS_BASE_URL": fly.flaps,
                "FLY_API_BASE_URL": fly.api,
            }
            inputs = {
                "fly_api_token": f"rehearsal-{secrets.token_hex(16)}",
                "fly_app": APP,
                "image": engine.image,
            }
            yield LocalStage(event, folder / "checkout", environment, inputs, fly.flaps)
    finally:
        if not keep:
            shutil.rmtree(state)


def _example_repository(folder: Path) -> dict[str, Any]:
    """A base branch without the function, the pull request's branch with it; returns the payload."""
    event: dict[str, Any] = json.loads((EXAMPLE / "pull_request.json").read_text())
    pull = event["pull_request"]
    checkout = empty_repository(folder, pull["base"]["ref"])
    for step, names in (("base", ("README.md", ".gitignore")), ("head", ("pages.py", "test_pages.py"))):
        if step == "head":
            _git(checkout, "switch", "-q", "-c", pull["head"]["ref"])
        for name in names:
            shutil.copyfile(EXAMPLE / "repository" / name, checkout / name)
        _git(checkout, "add", ".")
        _git(checkout, "commit", "-q", "-m", pull["title"] if step == "head" else "Begin")
        pull[step]["sha"] = _git(checkout, "rev-parse", "HEAD")
    bare = folder / "repositories" / f"{event['repository']['full_name']}.git"
    _git(folder, "clone", "-q", "--bare", checkout, bare)
    _git(bare, "update-ref", f"refs/pull/{event['number']}/head", pull["head"]["sha"])
    return event


def empty_repository(folder: Path, branch: str = "main") -> Path:
    """A repository without a commit, `checkout` in `folder`."""
    checkout = folder / "checkout"
    checkout.mkdir()
    _git(checkout, "init", "-q", "-b", branch)
    return checkout


def _git(where: Path, *words: str | Path) -> str:
    done = subprocess.run(
        ["git", "-C", where, *words], env=os.environ | _GIT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
