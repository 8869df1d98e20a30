"""localfly against Fly's own document, its objects closed: every answer is one that is described there.

What `tests.support.openapi` lists as beyond the document is known of Fly from elsewhere. `DEVIATIONS` is what
localfly answers on purpose although neither knows it.
"""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.fly_inside import IMAGE, Inside, ScriptedBackend, fly_inside
from tests.support.openapi import response_errors

from localfly.backend import ExecResult, Exit
from localfly.serve import make_app

DEVIATIONS = {
    # Leases come in an envelope: the recorded answers in the prose documentation against the document.
    ("GET", "/lease"),
    ("POST", "/lease"),
    ("DELETE", "/lease"),
    # {"ok":true} like stop and destroy in the prose documentation; the document describes no body.
    ("POST", "/restart"),
    ("POST", "/signal"),
}


class Referee:
    """Judges every answer of a client."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.judged: set[tuple[str, str, int]] = set()

    async def judge(self, response: httpx.Response) -> None:
        await response.aread()
        method, path = response.request.method, response.request.url.path
        last = "/" + path.rsplit("/", 1)[1]
        if path.startswith("/_localfly/") or (response.is_success and (method, last) in DEVIATIONS):
            return
        is_json = response.headers.get("content-type", "").startswith("application/json")
        body = response.json() if is_json and response.content else None
        self.judged.add(
            (method, last if not last[1:].isalnum() or len(last) < 12 else "/ID", response.status_code)
        )
        self.problems += response_errors(method, path, response.status_code, body)


@asynccontextmanager
async def judged(directory: Path, **settings: Any) -> Any:
    referee = Referee()
    backend = ScriptedBackend({"a": "b"}, "sha256:" + "0" * 64)
    async with fly_inside(directory, backend, **settings) as fly:
        await fly.http.aclose()
        fly.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(make_app(fly.fly)),
            base_url="http://fly",
            headers={"Authorization": "FlyV1 fm2_test"},
            event_hooks={"response": [referee.judge]},
        )
        try:
            yield fly, referee
        finally:
            await fly.http.aclose()
    assert referee.judged
    assert referee.problems == []


async def life(fly: Inside) -> str:
    """Everything one machine can be asked, from create to the end of its record; its id."""
    machine, workload = await fly.started(metadata={"a": "1"}, env={"A": "1"}, auto_destroy=True, name="n")
    workload.ends_at[15] = Exit(143, 15)
    workload.answer = ExecResult(2, b"out", b"err")
    path = f"/machines/{machine}"
    await fly.call("GET", path)
    await fly.call("GET", "/machines", params={"metadata.a": "1"})
    await fly.call("GET", "/machines", params={"summary": "true"})
    await fly.call("GET", f"{path}/wait", params={"state": "started", "timeout": "5"})
    await fly.call("POST", f"{path}/exec", {"command": ["true"], "stdin": "x", "timeout": 5})
    await fly.call("GET", f"{path}/versions")
    await fly.call("GET", f"{path}/metadata")
    await fly.call("POST", f"{path}/metadata/b", {"value": "2"})
    await fly.call("GET", f"{path}/metadata/b")
    await fly.call("PATCH", f"{path}/metadata", {"metadata": {"b": None}})
    await fly.call("DELETE", f"{path}/metadata/a")
    await fly.call("POST", f"{path}/signal", {"signal": "SIGUSR1"})
    await fly.call("POST", f"{path}/stop", {"signal": "SIGTERM", "timeout": "1s"})
    await fly.reach(machine, "destroyed")
    await fly.call("GET", path)
    await fly.call("GET", f"{path}/events", params={"limit": "50"})
    await fly.http.get("/api/v1/apps/local/logs", params={"instance": machine})
    await fly.http.get("/api/v1/apps/local/logs", params={"next_token": "1"})
    return machine


@pytest.mark.parametrize("shape", ["explicit", "omitted_zeros", "monitor", "crash", "millis", "none"])
async def test_a_machine_s_life_is_told_in_the_document_s_shapes(tmp_path: Path, shape: str) -> None:
    """Create, show, list, wait, exec, metadata, signal, stop, events and logs, with every shape of exits."""
    async with judged(tmp_path, exit_event_shape=shape) as (fly, referee):
        await life(fly)
        assert ("POST", "/machines", 200) in referee.judged
        assert ("POST", "/exec", 200) in referee.judged
        assert len(referee.judged) > 12


async def test_starts_updates_and_destroys_are_told_in_the_document_s_shapes(tmp_path: Path) -> None:
    """The calls that move a machine that is not auto-destroyed."""
    async with judged(tmp_path) as (fly, referee):
        machine, workload = await fly.started()
        workload.end(0)
        await fly.reach(machine, "stopped")
        await fly.call("POST", f"/machines/{machine}/start")
        await fly.reach(machine, "started")
        await fly.call("POST", f"/machines/{machine}", {"config": {"image": "other:2"}})
        await fly.reach(machine, "started")
        await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
        await fly.reach(machine, "destroyed")
        assert ("POST", "/start", 200) in referee.judged


async def test_apps_and_the_platform_are_told_in_the_document_s_shapes(tmp_path: Path) -> None:
    """Apps, regions, and both kinds of the caller's token."""
    async with judged(tmp_path) as (fly, referee):
        await fly.http.post("/v1/apps", json={"name": "mine", "org_slug": "personal"})
        await fly.http.get("/v1/apps/mine")
        await fly.http.get("/v1/apps", params={"org_slug": "personal"})
        await fly.http.get("/v1/platform/regions")
        await fly.http.get("/v1/tokens/current")
        fly.fly.settings.caller = "org"
        await fly.http.get("/v1/tokens/current")
        await fly.http.delete("/v1/apps/mine")
        assert {("POST", "/apps", 201), ("GET", "/regions", 200), ("DELETE", "/mine", 202)} <= referee.judged


async def test_refusals_have_the_shape_of_errors(tmp_path: Path) -> None:
    """Every status an error can have: 400, 401, 404, 408, 409, 412, 413, 422, 429."""
    async with judged(tmp_path, full_regions=["fra"], exec_stdin_max_bytes=1) as (fly, referee):
        machine, workload = await fly.started(name="held")
        path = f"/machines/{machine}"
        workload.answer_delay_s = 5
        fly.fly.settings.exec_timeout_max_s = 0.01
        config = {"image": IMAGE}
        statuses = [
            (await fly.call("POST", "/machines", {})).status_code,
            (await fly.call("GET", "/machines", headers={"Authorization": ""})).status_code,
            (await fly.call("GET", "/machines/148e306f3e1683")).status_code,
            (await fly.call("POST", f"{path}/exec", {"command": ["a"]})).status_code,
            (await fly.call("POST", "/machines", {"name": "held", "config": config})).status_code,
            (await fly.call("DELETE", path)).status_code,
            (await fly.call("POST", f"{path}/exec", {"command": ["a"], "stdin": "ab"})).status_code,
            (await fly.call("POST", "/machines", {"region": "fra", "config": config})).status_code,
            (await fly.http.post("/v1/apps", json={"name": "local"})).status_code,
        ]
        await fly.call("POST", f"{path}/lease", {"ttl": 60})
        statuses.append((await fly.call("POST", f"{path}/stop", {})).status_code)
        fly.fly.settings.rate_limits = True
        listed = await asyncio.gather(*(fly.call("GET", "/machines") for _ in range(5)))
        statuses.append(listed[-1].status_code)
        assert statuses == [400, 401, 404, 408, 409, 412, 413, 422, 422, 409, 429]
        assert len(referee.judged) > 9


async def test_the_referee_would_see_a_misspelt_member(tmp_path: Path) -> None:
    """The same judge refuses an answer with a member more than the document has."""
    async with fly_inside(tmp_path) as fly:
        machine = await fly.create()
        assert response_errors("POST", "/v1/apps/local/machines", 200, machine) == []
        wrong = json.loads(json.dumps(machine)) | {"instanceId": "x"}
        assert response_errors("POST", "/v1/apps/local/machines", 200, wrong) != []
