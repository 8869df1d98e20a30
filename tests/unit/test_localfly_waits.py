"""localfly.waits: how long, for what, and what is answered."""

import asyncio
from pathlib import Path

import pytest
from tests.support.fly_inside import IMAGE, ScriptedBackend, fly_inside
from tests.support.recorded import recorded

from localfly import waits
from localfly.backend import Launch, Sink, Workload
from localfly.wire import ApiError


@pytest.mark.parametrize("timeout", ["0", "61", "90"])
async def test_waits_last_one_to_sixty_seconds(tmp_path: Path, timeout: str) -> None:
    """Anything else is the recorded 400."""
    async with fly_inside(tmp_path) as fly:
        machine = (await fly.create())["id"]
        answer = await fly.call("GET", f"/machines/{machine}/wait", params={"timeout": timeout})
        assert (answer.status_code, answer.json()) == (400, recorded(400, "invalid_argument: invalid Wait"))


async def test_a_wait_that_is_over_is_408(tmp_path: Path) -> None:
    """In the recorded words, with the wanted and the present state."""
    async with fly_inside(tmp_path, boot_delay_s=30) as fly:
        machine = fly.fly.store.machines[(await fly.create())["id"]]
        with pytest.raises(ApiError) as raised:
            await waits.wait_for(
                fly.fly.changes, machine, ["started"], version="", from_event_id="", timeout_s=0.01
            )
        assert (raised.value.status, raised.value.body) == (
            408,
            recorded(408, "deadline_exceeded: machine failed"),
        )


async def test_a_wait_ends_with_the_state_passed_through(tmp_path: Path) -> None:
    """Stopped for a moment only still satisfies who waits for stopped, said twice or with a comma."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(auto_destroy=True)
        path = f"/machines/{machine}/wait"
        waiting = [
            asyncio.create_task(fly.call("GET", path, params=query))
            for query in (
                {"state": ["stopped", "failed"]},
                {"state": "stopped,destroyed"},
                {"state": "destroyed"},
            )
        ]
        await asyncio.sleep(0.01)
        workload.end(0)
        answers = [(await each).json() for each in waiting]
        assert [answer["state"] for answer in answers] == ["stopped", "stopped", "destroyed"]
        assert answers[0].keys() == {"ok", "state", "version", "event_id"}


class OverAtOnce(ScriptedBackend):
    """Its workloads end before anybody can look."""

    async def start(self, launch: Launch, sink: Sink) -> Workload:
        workload = await super().start(launch, sink)
        self.started[-1].end(0)
        return workload


async def test_a_wait_names_the_event_of_the_state_it_met(tmp_path: Path) -> None:
    """However far the machine is by then: what came next can still be waited for from there."""
    async with fly_inside(tmp_path, OverAtOnce()) as fly:
        body = {"config": {"image": IMAGE, "restart": {"policy": "no"}}, "skip_launch": True}
        machine = (await fly.call("POST", "/machines", body)).json()["id"]
        path = f"/machines/{machine}/wait"
        record = fly.fly.store.machines[machine]
        waiting = asyncio.create_task(
            waits.wait_for(fly.fly.changes, record, ["started"], version="", from_event_id="", timeout_s=5)
        )
        await asyncio.sleep(0)
        await fly.call("POST", f"/machines/{machine}/start")
        started = await waiting
        events = {event["id"]: event["status"] for event in await fly.events(machine)}
        assert events[started["event_id"]] == "started"
        query = {"state": "stopped", "from_event_id": started["event_id"], "timeout": "1"}
        stopped = (await fly.call("GET", path, params=query)).json()
        assert (stopped["state"], events[stopped["event_id"]]) == ("stopped", "stopped")


async def test_a_wait_begun_after_the_end_is_404(tmp_path: Path) -> None:
    """As flyctl meets it with fast machines, though GET still answers; a setting has the other reading."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(auto_destroy=True)
        workload.end(0)
        await fly.reach(machine, "destroyed")
        path = f"/machines/{machine}/wait"
        assert (await fly.call("GET", path, params={"state": "destroyed"})).status_code == 404
        fly.fly.settings.wait_destroyed_answers = True
        assert (await fly.call("GET", path, params={"state": "destroyed"})).status_code == 200


async def test_a_wait_for_an_old_version_says_replaced(tmp_path: Path) -> None:
    """408 with `currently replaced`; a version that never was is 404."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        old = (await fly.call("GET", f"/machines/{machine}")).json()["instance_id"]
        await fly.call("POST", f"/machines/{machine}", {"config": {"image": "other:2"}})
        answer = await fly.call(
            "GET", f"/machines/{machine}/wait", params={"state": "stopped", "instance_id": old}
        )
        assert answer.status_code == 408
        assert answer.json()["error"].endswith("currently replaced")
        unknown = await fly.call("GET", f"/machines/{machine}/wait", params={"version": "01" + "0" * 24})
        assert unknown.status_code == 404


async def test_an_earlier_stop_does_not_satisfy_a_wait_from_a_later_event(tmp_path: Path) -> None:
    """`from_event_id` counts only what came after it."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.end(0)
        await fly.reach(machine, "stopped")
        stop = (await fly.events(machine))[0]["id"]
        await fly.call("POST", f"/machines/{machine}/start")
        await fly.reach(machine, "started")
        path = f"/machines/{machine}/wait"
        waiting = asyncio.create_task(
            fly.call("GET", path, params={"state": "stopped", "from_event_id": stop})
        )
        await asyncio.sleep(0.01)
        assert not waiting.done()
        fly.backend.started[-1].end(0)
        assert (await waiting).json()["state"] == "stopped"


async def test_settled_is_any_resting_state(tmp_path: Path) -> None:
    """A failed boot ends a wait for settled."""
    async with fly_inside(tmp_path) as fly:
        machine = (await fly.create(image="missing:1"))["id"]
        answer = await fly.call("GET", f"/machines/{machine}/wait", params={"state": "settled"})
        assert answer.json()["state"] == "failed"


async def test_waiting_for_stopped_may_need_the_version(tmp_path: Path) -> None:
    """The prose documentation's reading, as a setting."""
    async with fly_inside(tmp_path, wait_stopped_needs_version=True) as fly:
        machine, workload = await fly.started()
        workload.end(0)
        await fly.reach(machine, "stopped")
        path = f"/machines/{machine}/wait"
        assert (await fly.call("GET", path, params={"state": "stopped"})).status_code == 400
        version = (await fly.call("GET", f"/machines/{machine}")).json()["instance_id"]
        answer = await fly.call("GET", path, params={"state": "stopped", "version": version})
        assert answer.json() == {
            "ok": True,
            "state": "stopped",
            "version": version,
            "event_id": (await fly.events(machine))[0]["id"],
        }
