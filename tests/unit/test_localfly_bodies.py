"""localfly.bodies, and every route that reads something: nonsense is refused with 400, never met with 500."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.fly_inside import IMAGE, fly_inside

ORDERS: list[tuple[str, object]] = [
    ("/exec", {"cmd": "echo 'a"}),
    ("/exec", {"cmd": 5}),
    ("/exec", {"command": ["a\0b"]}),
    ("/exec", {"command": ["a"], "timeout": True}),
    ("/exec", {"command": ["a"], "stdin": 5}),
    ("/lease", {"ttl": "²"}),
    ("/lease", {"ttl": []}),
    ("/lease?ttl=²", None),
    ("/lease", {"description": 5}),
    ("/signal", {"signal": {}}),
    ("/signal", {"signal": 0}),
    ("/signal", {"signal": "SIG_DFL"}),
    ("/stop", {"timeout": "x"}),
    ("/stop", {"signal": 7}),
    ("/metadata/a", {"value": 5}),
    ("", {"config": {"image": IMAGE}, "current_version": 5}),
]

QUERIES = [
    "?cursor=a",
    "?cursor=!!!",
    "?cursor=_w==",
    "?limit=²",
    "?limit=0",
    "/ID/wait?timeout=--5",
    "/ID/wait?timeout=²",
    "/ID/wait?timeout=",
    "/ID/wait?state=nonsense",
    "/ID/events?limit=²",
]

CONFIGS: list[dict[str, Any]] = [
    {"image": 5},
    {"guest": {"cpu_kind": ["x"]}},
    {"guest": {"cpus": {}}},
    {"guest": {"memory_mb": "256"}},
    {"guest": []},
    {"restart": {"policy": {}}},
    {"restart": {"max_retries": "3"}},
    {"stop_config": {"signal": []}},
    {"stop_config": {"timeout": True}},
    {"init": {"cmd": "ls"}},
    {"init": {"exec": [1]}},
    {"metadata": []},
    {"env": {"A": 1}},
    {"auto_destroy": "yes"},
]


@pytest.mark.parametrize(("path", "body"), ORDERS)
async def test_an_order_that_cannot_be_read_is_refused(tmp_path: Path, path: str, body: object) -> None:
    """Numbers for texts, open quotes, signals that are none."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        assert (await fly.call("POST", f"/machines/{machine}{path}", body)).status_code == 400


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_that_cannot_be_read_is_refused(tmp_path: Path, query: str) -> None:
    """Digits of other scripts, cursors nobody gave out."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        answer = await fly.call("GET", "/machines" + query.replace("ID", machine))
        assert answer.status_code == 400


@pytest.mark.parametrize("member", CONFIGS)
async def test_a_configuration_of_other_types_is_refused(tmp_path: Path, member: dict[str, Any]) -> None:
    """In Go's words, and nothing is created."""
    async with fly_inside(tmp_path) as fly:
        answer = await fly.call("POST", "/machines", {"config": {"image": IMAGE} | member})
        assert answer.status_code == 400
        assert (await fly.call("GET", "/machines")).json() == []


@pytest.mark.parametrize(
    "body", [{"name": {}}, {"name": 5}, {"region": ["iad"]}, {"lease_ttl": "x"}, {"skip_launch": 1}]
)
async def test_what_surrounds_a_configuration_is_checked_too(tmp_path: Path, body: dict[str, Any]) -> None:
    """An object is no name, not even an empty one."""
    async with fly_inside(tmp_path) as fly:
        answer = await fly.call("POST", "/machines", {"config": {"image": IMAGE}} | body)
        assert answer.status_code == 400


@pytest.mark.parametrize("body", [{"name": 5}, {"org_slug": 5}, {"network": []}, []])
async def test_an_app_of_other_types_is_refused(tmp_path: Path, body: object) -> None:
    """The list of apps stays readable."""
    async with fly_inside(tmp_path) as fly:
        assert (await fly.http.post("/v1/apps", json=body)).status_code == 400
        listed = await fly.http.get("/v1/apps", params={"org_slug": "personal"})
        assert [app["name"] for app in listed.json()["apps"]] == ["local"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "EOF"),
        (b"{", "invalid character in request body"),
        (b'{"a": NaN}', "invalid character in request body"),
        (b"[]", "json: cannot unmarshal array into Go value of type main.stopRequest"),
        (b'"x"', "json: cannot unmarshal string into Go value of type main.stopRequest"),
    ],
)
async def test_a_body_that_is_no_object_is_refused_in_go_s_words(
    tmp_path: Path, raw: bytes, words: str
) -> None:
    """Only a stop may come without any."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        path = f"/v1/apps/local/machines/{machine}/" + ("stop" if raw else "exec")
        answer = await fly.http.post(path, content=raw)
        assert (answer.status_code, answer.json()) == (400, {"error": words})


async def test_half_a_character_is_replaced_as_go_does(tmp_path: Path) -> None:
    """A lone surrogate, or bytes that are no UTF-8, must not make a machine that cannot be shown."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        path = f"/v1/apps/local/machines/{machine}"
        metadata = rb'{"metadata": {"a": "\ud800", "b": "\ud83d\ude00"}}'
        await fly.http.patch(f"{path}/metadata", content=metadata)
        assert (await fly.call("GET", f"/machines/{machine}/metadata")).json() == {"a": "\ufffd", "b": "😀"}
        await fly.http.post(f"{path}/exec", content=b'{"command": ["cat"], "stdin": "\xff\\udc00"}')
        assert workload.executions[0].stdin.decode() == "\ufffd\ufffd"
