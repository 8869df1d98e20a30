"""Every request the client can make, held against Fly's own OpenAPI document with its objects closed."""

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from tests.support.openapi import request_errors
from tests.support.scripted_http import ScriptedTransport

from flaude_action.errors import FlyAPIError
from flaude_action.fly import Fly

CONFIG = {
    "image": "registry.fly.io/a@sha256:0",
    "env": {"FLAUDE_NONCE": "0123456789abcdef"},
    "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 2048},
    "auto_destroy": True,
    "restart": {"policy": "no"},
    "stop_config": {"signal": "SIGTERM", "timeout": "30s"},
    "metadata": {"flaude_nonce": "0123456789abcdef"},
}
ID, VERSION = "1857156b526dd8", "01HEPA330HZ37A78TK080NAK1M"

CALLS: dict[str, list[Callable[[Fly], Awaitable[Any]]]] = {
    "get_app": [lambda fly: fly.get_app("a")],
    "create_app": [
        lambda fly: fly.create_app("a", "personal"),
        lambda fly: fly.create_app("a", "personal", network="a-network"),
    ],
    "create_machine": [
        lambda fly: fly.create_machine("a", CONFIG),
        lambda fly: fly.create_machine("a", CONFIG, name="n", region="cdg"),
    ],
    "get_machine": [lambda fly: fly.get_machine("a", ID)],
    "list_machines": [
        lambda fly: fly.list_machines("a"),
        lambda fly: fly.list_machines("a", metadata={"k": "v", "l": "w"}, include_deleted=True),
    ],
    "events": [lambda fly: fly.events("a", ID)],
    "wait": [
        lambda fly: fly.wait("a", ID, ["stopped", "failed", "destroyed"], VERSION, 60),
        lambda fly: fly.wait("a", ID, ["started"], "", 0.5),
        lambda fly: fly.wait("a", ID, ["settled"], VERSION, 3600),
    ],
    "stop_machine": [
        lambda fly: fly.stop_machine("a", ID),
        lambda fly: fly.stop_machine("a", ID, signal="SIGKILL", timeout=2.5),
    ],
    "destroy_machine": [
        lambda fly: fly.destroy_machine("a", ID),
        lambda fly: fly.destroy_machine("a", ID, force=False),
    ],
    "exec": [
        lambda fly: fly.exec("a", ID, ["flaude-guest", "status"]),
        lambda fly: fly.exec("a", ID, ["flaude-guest", "provision"], '{"a": 1}', 12.5),
    ],
    "metadata": [lambda fly: fly.metadata("a", ID)],
    "logs_page": [
        lambda fly: fly.logs_page("a"),
        lambda fly: fly.logs_page("a", ID, "1790000000000000001", "cdg"),
    ],
}


def endpoints() -> set[str]:
    public = {name for name, _ in inspect.getmembers(Fly, inspect.iscoroutinefunction) if name[0] != "_"}
    return public - {"aclose"}


def test_every_method_is_held_against_the_document() -> None:
    """A method added to the client without a row here fails."""
    assert set(CALLS) == endpoints()


@pytest.mark.parametrize(
    "call", [pytest.param(call, id=name) for name, calls in CALLS.items() for call in calls]
)
async def test_requests_fit_the_document(call: Callable[[Fly], Awaitable[Any]]) -> None:
    """Path, query and body of each request are what Fly's document allows, and nothing besides."""
    transport = ScriptedTransport([httpx.Response(400)])
    async with Fly("fm2_x", transport=transport, retry_for=0) as fly:
        with pytest.raises(FlyAPIError):
            await call(fly)
    (request,) = transport.requests
    body = json.loads(request.content) if request.content else None
    assert request_errors(request.method, request.url.path, request.url.query.decode(), body) == []
    assert (request.headers.get("content-type") == "application/json") == (body is not None)
    assert request.headers["user-agent"] == "flaude-action"


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("PUT", f"/v1/apps/a/machines/{ID}", "", {"config": CONFIG}),
        ("POST", "/v1/apps/a/machines", "", {"config": CONFIG | {"vm_size": "shared-cpu-2x"}}),
        ("POST", "/v1/apps/a/machines", "", {"config": CONFIG | {"metadata": {"n": 1}}}),
        ("POST", "/v1/apps", "", {"app_name": "a", "org_slug": "personal"}),
        ("POST", f"/v1/apps/a/machines/{ID}/exec", "", {"command": "ls"}),
        ("GET", f"/v1/apps/a/machines/{ID}/wait", "state=stopped&timeout=3600", None),
        ("GET", f"/v1/apps/a/machines/{ID}/wait", "state=finished", None),
        ("GET", f"/v1/apps/a/machines/{ID}/events", "limit=51", None),
        ("GET", f"/v1/apps/a/machines/{ID}", "", {"body": 1}),
        ("GET", "/v1/apps/a/machines", "metadata.=x", None),
        ("GET", "/api/v1/apps/a/logs", "start_time=1", None),
    ],
)
def test_the_referee_sees_mistakes(method: str, path: str, query: str, body: object) -> None:
    """The document, as we close it, refuses the mistakes that were made before us."""
    assert request_errors(method, path, query, body) != []
