"""From the create request to Claude Code's first question to the model, phase by phase.

The machines are containers of our image on this computer: no image is pulled, and a container starts sooner
than a Fly Machine. What is measured is what happens in the image.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import statistics
import tempfile
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from bench.container import compressed_mb
from tests.support import engines
from tests.support.step import Stage, script, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PHASES = {
    "boot": "create request to the guest's first line",
    "checks": "its own checks and the job's arrival",
    "fetch": "fetch of a small repository from loopback",
    "agent": "Claude Code's start to its first request",
}
EVENT = "[flaude:event:"


def measure(runs: int = 7) -> dict[str, float]:
    """`{layers_mb, total_s, boot_s, checks_s, fetch_s, agent_s}`: our own layers; medians of the runs."""
    image = engines.machine_image()
    with contextlib.redirect_stdout(io.StringIO()):  # a step's log is shown by the tests' own helper
        found = asyncio.run(phases(image, runs))
    return {"layers_mb": compressed_mb(image, above=engines.base_image())} | {
        f"{name}_s": statistics.median(run[name] for run in found) for name in ("total", *PHASES)
    }


async def phases(image: str, runs: int) -> list[dict[str, float]]:
    """`{total, boot, checks, fetch, agent}` of each run, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder), script("Done."), image=image) as here:
            return [await _seconds(here) for _ in range(runs + 1)][1:]  # the first reads the disk


async def _seconds(here: Stage) -> dict[str, float]:
    await here.fly.forget_requests()
    async with httpx.AsyncClient(base_url=here.model) as model:
        await model.delete("/_messages/requests")
        ended = await here.step()
        asked = (await model.get("/_messages/requests")).json()
    if ended.exit_code:
        raise RuntimeError(ended.log)
    [created] = [each["at"] for each in await here.fly.requests("POST") if each["path"].endswith("/machines")]
    events = {name: at async for name, at in _events(here, ended.outputs["machine_id"])}
    first_asked = next(each["at"] for each in asked if each["path"] == "/v1/messages")
    moments = [created, events["boot"], events["fetch"], events["agent"], first_asked]
    seconds = [later - earlier for earlier, later in pairwise(moments)]
    return dict(zip(PHASES, seconds, strict=True)) | {"total": first_asked - created}


async def _events(here: Stage, machine: str) -> AsyncIterator[tuple[str, float]]:
    """What the guest's event lines say, `boot` and the phases, and when they came (epoch)."""
    token = "1"
    while (page := await here.fly.log_page(instance=machine, next_token=token))["data"]:
        for line in page["data"]:
            said, at = line["attributes"]["message"], line["attributes"]["timestamp"]
            if said.startswith(EVENT):
                event = json.loads(said[len(EVENT) : -1])
                yield event.get("phase") or event["type"], _epoch(at)
        token = str(page["meta"]["next_token"])


def _epoch(rfc3339_ns: str) -> float:
    # datetime has microseconds, the log nanoseconds.
    return datetime.fromisoformat(f"{rfc3339_ns[:26]}+00:00").timestamp()
