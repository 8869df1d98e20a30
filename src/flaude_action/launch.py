"""How a machine of ours comes to be: its name and marks, one create call, and what to do when that got lost.

A mark in its metadata makes a machine provably ours; what becomes of it is `machine`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaude_action.errors import FlyAPIError
from flaude_action.fly_errors import may_have_happened, name_taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flaude_action.fly import Fly
    from flaude_action.fly_models import Machine
    from flaude_action.machine_config import MachineConfig
    from flaude_action.outcome import Errand

log = logging.getLogger(__name__)

META_MANAGER, MANAGER = "managed_by", "flaude-action"
META_RUN, META_NONCE, META_DEADLINE = "flaude_run", "flaude_nonce", "flaude_deadline"
META_LAUNCH = "flaude_launch"


def new_nonce() -> str:
    """64 random bits as 16 hex digits: what makes a machine provably ours."""
    return secrets.token_hex(8)


def run_digest(*identity: object) -> str:
    """Who started this: repository, run, attempt, job, step, matrix index, as 12 hex digits."""
    return hashlib.sha256("\0".join(map(str, identity)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Launch:
    """One create call. The nonce is the run's, which may need a second launch; with the number it is found
    again when the answer was lost."""

    run: str
    nonce: str
    config: dict[str, Any] = field(repr=False)
    regions: Sequence[str | None] = (None,)
    number: int = 1
    name: str = ""

    @property
    def machine_name(self) -> str:
        return self.name or f"flaude-{self.run}-{self.number}-{self.nonce}"


def planned(
    config: MachineConfig, errand: Errand, nonce: str, lifetime_s: float, *, foreign: bool, number: int
) -> Launch:
    """The launch of a run's machine: a foreign image is told its job by its environment."""
    env = config.foreign_env() if foreign else config.guest_env(nonce, lifetime_s)
    return Launch(
        run=errand.run,
        nonce=nonce,
        config=config.create_config(env, metadata(errand.run, nonce, lifetime_s, number)),
        regions=config.wanted_regions,
        number=number,
        name=errand.name,
    )


def metadata(run: str, nonce: str, lifetime_s: float, number: int = 1) -> dict[str, str]:
    """What marks a machine as ours: manager, run, nonce, launch, and the second it must be gone by."""
    return {
        META_MANAGER: MANAGER,
        META_RUN: run,
        META_NONCE: nonce,
        META_LAUNCH: str(number),
        META_DEADLINE: str(int(time.time() + lifetime_s)),
    }


async def create(fly: Fly, app: str, launch: Launch) -> Machine:
    """Try the regions in order; only a lack of capacity moves on to the next."""
    *others, last = launch.regions
    for region in others:
        try:
            return await _create_in(region, fly, app, launch)
        except FlyAPIError as error:
            if error.type != "machine_capacity":
                raise
            log.warning("no capacity in %s, trying the next region", region)
    return await _create_in(last, fly, app, launch)


async def made_by(launch: Launch, fly: Fly, app: str) -> Machine | None:
    """The machine of this launch, also one that has been and gone: it must not be started twice."""
    marks = {META_NONCE: launch.nonce, META_LAUNCH: str(launch.number)}
    found = await fly.list_machines(app, metadata=marks, include_deleted=True)
    return min(found, key=lambda machine: machine.state in ("destroying", "destroyed"), default=None)


async def _create_in(region: str | None, fly: Fly, app: str, launch: Launch) -> Machine:
    """Create, or adopt what a lost answer left behind: only a machine with our nonce."""
    for pause in (0.5, 1.0, None):
        try:
            return await fly.create_machine(app, launch.config, name=launch.machine_name, region=region or "")
        except FlyAPIError as error:
            if not (may_have_happened(error) or name_taken(error)):
                raise
            adopted = await made_by(launch, fly, app)
            if adopted is not None:
                return adopted
            if pause is None:
                raise
            log.warning("creating the machine: %s; trying again", error)
            await asyncio.sleep(pause)
    raise AssertionError("unreachable: the last try returns or raises")
