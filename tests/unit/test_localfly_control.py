"""localfly.control, faults and the record of requests: what tests may do to this Fly."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.fly_inside import Inside, fly_inside

from localfly.faults import FaultError, Faults


async def control(fly: Inside, method: str, path: str, body: object = None) -> Any:
    answer = await fly.http.request(method, f"/_localfly/{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def test_requests_are_recorded_whole(tmp_path: Path) -> None:
    """Method, path, query, headers with the token, body and status; control requests are not among them."""
    async with fly_inside(tmp_path) as fly:
        await fly.call("POST", "/machines", {"config": {}}, params={"a": "b"})
        [request] = await control(fly, "GET", "requests")
        assert (request["method"], request["path"], request["query"]) == (
            "POST",
            "/v1/apps/local/machines",
            "a=b",
        )
        assert (request["headers"]["authorization"], request["status"]) == ("FlyV1 fm2_test", 400)
        assert json.loads(request["body"]) == {"config": {}}
        await control(fly, "DELETE", "requests")
        assert await control(fly, "GET", "requests") == []


async def test_settings_change_at_run_time(tmp_path: Path) -> None:
    """They are shown, changed, and checked."""
    async with fly_inside(tmp_path) as fly:
        assert (await control(fly, "GET", "settings"))["logs_readable"] is True
        assert (await control(fly, "POST", "settings", {"logs_readable": False}))["logs_readable"] is False
        assert (await fly.http.post("/_localfly/settings", json={"odd": 1})).status_code == 400


async def test_a_fault_strikes_as_often_as_ordered(tmp_path: Path) -> None:
    """After `skip` spared requests, `times` others get the ordered answer."""
    async with fly_inside(tmp_path) as fly:
        order = {
            "method": "GET",
            "path": "/machines$",
            "skip": 1,
            "times": 2,
            "status": 503,
            "body": {"error": "unavailable"},
            "headers": {"retry-after": "2"},
        }
        await control(fly, "POST", "faults", order)
        answers = [await fly.call("GET", "/machines") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
        assert (answers[1].json(), answers[1].headers["retry-after"]) == ({"error": "unavailable"}, "2")
        assert "fly-request-id" in answers[1].headers
        assert (await fly.call("POST", "/machines", {})).status_code == 400


async def test_a_fault_may_look_at_the_query_and_answer_text(tmp_path: Path) -> None:
    """The pattern is searched in path and query; a text body is plain text."""
    async with fly_inside(tmp_path) as fly:
        await control(
            fly, "POST", "faults", {"path": r"\?.*state=stopped", "status": 502, "body": "bad gateway"}
        )
        assert (await fly.call("GET", "/machines")).status_code == 200
        struck = await fly.call("GET", "/machines", params={"state": "stopped"})
        assert (struck.status_code, struck.text) == (502, "bad gateway")


async def test_a_fault_may_look_at_the_body_and_alter_the_answer(tmp_path: Path) -> None:
    """Only what asks for that is struck; it is performed, recorded whole, and its answer is another."""
    async with fly_inside(tmp_path) as fly:
        order = {"path": "/machines$", "asks": '"name": ?"odd"', "action": "alter"}
        await control(fly, "POST", "faults", order | {"find": '"state":"[a-z]+"', "put": '"state":"odd"'})
        config = {"config": {"image": "app:1"}}
        states = [
            (await fly.call("POST", "/machines", {"name": name, **config})).json()["state"]
            for name in ("even", "odd", "another")
        ]
        assert states == ["created", "odd", "created"]
        assert len((await fly.call("GET", "/machines")).json()) == 3
        asked = [each for each in await control(fly, "GET", "requests") if each["method"] == "POST"]
        assert [json.loads(each["body"])["name"] for each in asked] == ["even", "odd", "another"]
        assert [each["status"] for each in asked] == [200, 200, 200]


async def test_a_delay_serves_later(tmp_path: Path) -> None:
    """The answer is the real one."""
    async with fly_inside(tmp_path) as fly:
        await control(fly, "POST", "faults", {"path": "machines", "action": "delay", "seconds": 0.01})
        assert (await fly.call("GET", "/machines")).status_code == 200
        [fault] = await control(fly, "GET", "faults")
        assert fault["struck"] == 1
        await control(fly, "DELETE", "faults")
        assert await control(fly, "GET", "faults") == []


@pytest.mark.parametrize(
    "order", [{"path": "("}, {"path": "a", "action": "odd"}, {}, {"path": "a", "odd": 1}]
)
def test_an_order_that_cannot_be_understood_is_refused(order: dict[str, Any]) -> None:
    """A misspelt fault must not be a fault that never strikes."""
    with pytest.raises(FaultError):
        Faults().add(order)


@pytest.mark.parametrize("nesting", ["exit_event", "MonitorEvent"])
async def test_an_end_can_be_forged(tmp_path: Path, nesting: str) -> None:
    """The workload dies silently; only the ordered event is told."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        event = {"exit_code": -1, "guest_signal": 9}
        await control(
            fly, "POST", f"machines/{machine}/end", {"exit_event": event, "type": "crash", "nesting": nesting}
        )
        assert workload.signals == [9]
        [told] = [each for each in await fly.events(machine) if each["type"] in ("exit", "crash")]
        inner = {"exit_event": event}
        assert told["request"] == (inner if nesting == "exit_event" else {"MonitorEvent": inner})
        assert (told["type"], (await fly.call("GET", f"/machines/{machine}")).json()["state"]) == (
            "crash",
            "stopped",
        )


@pytest.mark.parametrize(
    ("state", "last"), [("failed", "failed"), ("destroyed", "destroyed"), ("stopped", "destroyed")]
)
async def test_an_end_without_an_event_tells_nothing(tmp_path: Path, state: str, last: str) -> None:
    """A machine can end in any state without an exit event; a stopped one is destroyed as configured."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started(auto_destroy=True)
        await control(fly, "POST", f"machines/{machine}/end", {"exit_event": None, "state": state})
        await fly.reach(machine, last)
        assert not [each for each in await fly.events(machine) if each["type"] in ("exit", "crash")]


async def test_the_platform_may_speak_of_a_forged_end(tmp_path: Path) -> None:
    """The ordered line stands in the log as the runner's last word."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        line = "machine exited with exit code 3, not restarting"
        await control(fly, "POST", f"machines/{machine}/end", {"runner_line": line})
        page = await fly.http.get("/api/v1/apps/local/logs", params={"instance": machine})
        last = page.json()["data"][-1]["attributes"]
        assert (last["message"], last["meta"]["event"]["provider"]) == (line, "runner")


async def test_a_vanished_machine_is_404_from_then_on(tmp_path: Path) -> None:
    """As when its host is lost: no record, no events, not in the list, its name free."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(name="n")
        await control(fly, "POST", f"machines/{machine}/vanish")
        assert workload.signals == [9]
        for path in ("", "/events", "/wait"):
            assert (await fly.call("GET", f"/machines/{machine}{path}")).status_code == 404
        listed = await fly.call("GET", "/machines", params={"include_deleted": "true"})
        assert listed.json() == []
        await fly.create(name="n")


async def test_a_kill_is_told_like_any_death(tmp_path: Path) -> None:
    """The workload gets SIGKILL, the exit event says 137; a second kill finds nothing."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        await control(fly, "POST", f"machines/{machine}/kill")
        await fly.reach(machine, "stopped")
        event = (await fly.exit_event(machine))["request"]["exit_event"]
        assert (event["exit_code"], event["signal"], event["requested_stop"]) == (137, 9, False)
        assert (await fly.http.post(f"/_localfly/machines/{machine}/kill")).status_code == 409


async def test_lines_can_be_lost(tmp_path: Path) -> None:
    """All of them, and those still to come."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.say("before")
        await control(fly, "POST", f"machines/{machine}/logs/lose")
        workload.say("after")
        found = await fly.http.get("/api/v1/apps/local/logs", params={"instance": machine})
        assert found.json()["data"] == []


async def test_metadata_is_read_and_changed_key_by_key(tmp_path: Path) -> None:
    """Set, read, merge (null removes), delete; the configuration shows the result."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started(metadata={"a": "1"})
        path = f"/machines/{machine}/metadata"
        before = fly.fly.store.machines[machine].updated_at
        assert (await fly.call("POST", f"{path}/b", {"value": "2"})).status_code == 204
        assert (await fly.call("GET", f"{path}/b")).json() == {"value": "2"}
        assert (await fly.call("PATCH", path, {"metadata": {"a": None, "c": "3"}})).status_code == 204
        assert (await fly.call("GET", path)).json() == {"b": "2", "c": "3"}
        assert (await fly.call("DELETE", f"{path}/b")).status_code == 204
        assert (await fly.call("GET", f"{path}/b")).status_code == 404
        assert (await fly.call("GET", f"/machines/{machine}")).json()["config"]["metadata"] == {"c": "3"}
        assert fly.fly.store.machines[machine].updated_at > before
        stale = {"metadata": {"d": "4"}, "machine_version": "01" + "0" * 24}
        assert (await fly.call("PATCH", path, stale)).status_code == 412
