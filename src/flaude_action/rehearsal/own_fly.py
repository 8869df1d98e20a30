"""The rehearsal on the user's own Fly, when all it takes is set: a token, an app, a model's credential.

Fly's machines can reach neither a repository nor a scripted model of this computer. So the model is the real
one, and the repository is a public one of GitHub's, in which `setup` lays the example's files.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flaude_action.fly import Fly
from flaude_action.fly_access import base_urls
from flaude_action.rehearsal.model import own_model
from flaude_action.rehearsal.stage import EXAMPLE, Stage, empty_repository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

REPOSITORY = "octocat/Hello-World"
_HOSTS = ("FLY_FLAPS_BASE_URL", "FLY_API_BASE_URL", "GITHUB_SERVER_URL", "GITHUB_API_URL")


@dataclass(frozen=True)
class OwnFly:
    """Fly as the user named it; `hosts` are variables that say where it and GitHub are, if not as usual."""

    app: str
    token: str = field(repr=False)
    image: str
    hosts: dict[str, str]

    @property
    def told(self) -> str:
        """What plays the machines and why, and what the repository is."""
        return (
            f"Machines are Fly's own, two in the app {self.app} which Fly bills: FLY_API_TOKEN, FLY_APP "
            "and a model's credential are set (--backend would play them on this computer).\n"
            f"They reach no repository on this computer: in GitHub's {REPOSITORY} `setup` lays the example."
        )

    def stage(self, folder: Path) -> Stage:
        """What the steps meet, with a repository in `folder` for the proof."""
        inputs = {
            "fly_api_token": self.token,
            "fly_app": self.app,
            "repository": REPOSITORY,
            "setup": _lay_out(),
            **({"image": self.image} if self.image else {}),
        }
        event = json.loads((EXAMPLE / "pull_request.json").read_text())
        return Stage(event, empty_repository(folder), self.hosts, inputs)

    async def left(self, machine_ids: Sequence[str]) -> int:
        """How many of these Fly still has. Raises FlyAPIError."""
        if not machine_ids:
            return 0
        flaps, api = base_urls(self.hosts)
        async with Fly(self.token, flaps_url=flaps, api_url=api) as fly:
            there = {machine.id: machine.state for machine in await fly.list_machines(self.app)}
        return sum(there.get(one, "destroyed") != "destroyed" for one in machine_ids)


def own_fly(environ: Mapping[str, str]) -> OwnFly | None:
    """The user's Fly; None unless all that it takes is set."""
    token, app = environ.get("FLY_API_TOKEN", ""), environ.get("FLY_APP", "")
    if not token or not app or not own_model(environ, "fly"):
        return None
    hosts = {name: environ[name] for name in _HOSTS if environ.get(name)}
    return OwnFly(app, token, environ.get("FLAUDE_IMAGE", ""), hosts)


def about_fly(environ: Mapping[str, str]) -> str:
    """Why it is not the user's own, in one sentence."""
    if not environ.get("FLY_API_TOKEN"):
        return "Fly is played by localfly, and GitHub's git host by a server of this computer."
    why = "--backend asks for this computer"
    if not environ.get("FLY_APP"):
        why = "FLY_APP, which would name the app, is not"
    elif not own_model(environ, "fly"):
        why = "no model's credential is, and Fly's machines cannot reach a script on this computer"
    return f"Fly is played by localfly although FLY_API_TOKEN is set: {why}."


def _lay_out() -> str:
    """Shell commands that write the example's files."""
    files = sorted(file for file in (EXAMPLE / "repository").iterdir() if file.is_file())
    return "\n".join(f"printf %s {shlex.quote(file.read_text())} > {file.name}" for file in files)
