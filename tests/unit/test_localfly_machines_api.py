"""localfly.machines_api and waits: answers and refusals in Fly's recorded words."""

import json
from pathlib import Path

import httpx
import pytest
from tests.support.fly_inside import IMAGE, ScriptedBackend, fly_inside
from tests.support.recorded import FIXTURES, recorded

from localfly.backend import Image
from localfly.serve import make_app


async def test_a_created_machine_has_the_recorded_members(tmp_path: Path) -> None:
    """Every member of the recorded answer is in ours, with a value of the same type."""
    sample = json.loads((FIXTURES / "docs-create-machine-created.json").read_text())
    async with fly_inside(tmp_path, ScriptedBackend({"a": "b"}, "sha256:" + "0" * 64)) as fly:
        machine = await fly.create(name="aged-thunder-7371")
        for member, value in sample.items():
            assert type(machine[member]) is type(value), member
        assert machine["image_ref"] == {
            "registry": "registry.fly.io",
            "repository": "local",
            "tag": "1",
            "digest": "sha256:" + "0" * 64,
            "labels": {"a": "b"},
        }
        assert (machine["name"], machine["state"]) == ("aged-thunder-7371", "created")


async def test_a_name_belongs_to_one_live_machine(tmp_path: Path) -> None:
    """A second machine of that name is refused in the recorded words; after destroy the name is free."""
    async with fly_inside(tmp_path) as fly:
        first = await fly.create(name="relay-x-r1")
        answer = await fly.call("POST", "/machines", {"name": "relay-x-r1", "config": {"image": IMAGE}})
        text = recorded(409, "already_exists")["error"].replace("148e306f3e1683", first["id"])
        assert (answer.status_code, answer.json()) == (409, {"error": text})
        await fly.call("DELETE", f"/machines/{first['id']}", params={"force": "true"})
        await fly.reach(first["id"], "destroyed")
        assert (await fly.create(name="relay-x-r1"))["id"] != first["id"]


async def test_a_full_region_is_refused_with_the_capacity_code(tmp_path: Path) -> None:
    """The recorded 422."""
    async with fly_inside(tmp_path, full_regions=["fra"]) as fly:
        answer = await fly.call("POST", "/machines", {"region": "fra", "config": {"image": IMAGE}})
        assert (answer.status_code, answer.json()) == (422, recorded(422, "could not find"))


async def test_the_list_filters(tmp_path: Path) -> None:
    """By metadata (all must match), state and region; destroyed machines only when asked for."""
    async with fly_inside(tmp_path) as fly:
        a = await fly.create(metadata={"by": "us", "run": "1"})
        b = await fly.create(metadata={"by": "us", "run": "2"}, region="fra")
        gone = await fly.create(metadata={"by": "us"})
        await fly.call("DELETE", f"/machines/{gone['id']}", params={"force": "true"})
        await fly.reach(gone["id"], "destroyed")
        await fly.reach(a["id"], "started")

        async def ids(**query: str) -> list[str]:
            return [machine["id"] for machine in (await fly.call("GET", "/machines", params=query)).json()]

        assert await ids() == [a["id"], b["id"]]
        assert await ids(**{"metadata.by": "us", "metadata.run": "2"}) == [b["id"]]
        assert await ids(**{"metadata.by": "them"}) == []
        assert await ids(region="fra") == [b["id"]]
        assert await ids(state="started,stopped", region="iad") == [a["id"]]
        assert await ids(include_deleted="true", state="destroyed") == [gone["id"]]
        summary = (await fly.call("GET", "/machines", params={"summary": "true"})).json()
        assert "config" not in summary[0]


async def test_the_list_pages(tmp_path: Path) -> None:
    """`limit` cuts, and a header says where the next page begins."""
    async with fly_inside(tmp_path) as fly:
        made = [(await fly.create())["id"] for _ in range(5)]
        found, cursor = [], ""
        while True:
            answer = await fly.call("GET", "/machines", params={"limit": "2", "cursor": cursor})
            found += [machine["id"] for machine in answer.json()]
            cursor = answer.headers.get("fly-next-cursor", "")
            if not cursor:
                break
        assert found == made


async def test_no_page_is_lost_with_the_machine_it_began_after(tmp_path: Path) -> None:
    """Who destroys what a page lists still finds the rest, in the same order after localfly's own restart."""
    async with fly_inside(tmp_path) as fly:
        made = [(await fly.create())["id"] for _ in range(6)]
        page = await fly.call("GET", "/machines", params={"limit": "2"})
        for machine in made[:2]:
            await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
            await fly.reach(machine, "destroyed")
        query = {"limit": "10", "cursor": page.headers["fly-next-cursor"]}
        assert [each["id"] for each in (await fly.call("GET", "/machines", params=query)).json()] == made[2:]
    async with fly_inside(tmp_path) as fly:
        assert [each["id"] for each in (await fly.call("GET", "/machines")).json()] == made[2:]


async def test_unknown_and_malformed_ids(tmp_path: Path) -> None:
    """404 in the recorded words; a malformed id is 400."""
    async with fly_inside(tmp_path) as fly:
        unknown = await fly.call("GET", "/machines/148e306f3e1683")
        assert (unknown.status_code, unknown.json()) == (404, recorded(404, "machine not found"))
        malformed = await fly.call("GET", "/machines/nonsense")
        assert (malformed.status_code, malformed.json()["error"]) == (
            400,
            "invalid_argument: invalid machine ID, 'nonsense'",
        )


async def test_a_destroyed_machine_answers_for_a_while(tmp_path: Path) -> None:
    """GET and events show it until the retention is over, then 404."""
    async with fly_inside(tmp_path) as fly:
        machine = (await fly.create())["id"]
        await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
        await fly.reach(machine, "destroyed")
        assert (await fly.call("GET", f"/machines/{machine}")).json()["state"] == "destroyed"
        fly.fly.settings.destroyed_retention_s = 0
        for path in ("", "/events", "/wait"):
            assert (await fly.call("GET", f"/machines/{machine}{path}")).status_code == 404


async def test_a_running_machine_needs_force_to_be_destroyed(tmp_path: Path) -> None:
    """The recorded 412; `kill` is another word for force."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        refused = await fly.call("DELETE", f"/machines/{machine}")
        assert (refused.status_code, refused.json()) == (
            412,
            recorded(412, "failed_precondition: unable to destroy"),
        )
        done = await fly.call("DELETE", f"/machines/{machine}", params={"kill": "true"})
        assert done.json() == json.loads((FIXTURES / "docs-ok-true.json").read_text())
        again = await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
        assert again.status_code == 200


async def test_events_come_twenty_at_a_time_and_fifty_at_most(tmp_path: Path) -> None:
    """Newest first."""
    async with fly_inside(tmp_path) as fly:
        machine = (await fly.create())["id"]
        await fly.reach(machine, "started")
        for _ in range(60):
            fly.fly.store.machines[machine].add_event("health", "passing")
        events = await fly.events(machine)
        assert len(events) == 20
        assert [event["id"] for event in events] == sorted((event["id"] for event in events), reverse=True)
        most = await fly.call("GET", f"/machines/{machine}/events", params={"limit": "50"})
        assert len(most.json()) == 50
        for limit in ("0", "51", "x"):
            wrong = await fly.call("GET", f"/machines/{machine}/events", params={"limit": limit})
            assert wrong.status_code == 400


async def test_a_machine_not_launched_waits_for_its_start(tmp_path: Path) -> None:
    """skip_launch: created until somebody starts it; before that a preparing machine refuses to start."""
    async with fly_inside(tmp_path) as fly:
        body = {"skip_launch": True, "config": {"image": IMAGE}}
        machine = (await fly.call("POST", "/machines", body)).json()["id"]
        assert fly.backend.started == []
        assert (await fly.call("POST", f"/machines/{machine}/start")).json()["previous_state"] == "created"
        await fly.reach(machine, "started")
    async with fly_inside(tmp_path / "slow", boot_delay_s=30) as fly:
        preparing = (await fly.create())["id"]
        refused = await fly.call("POST", f"/machines/{preparing}/start")
        assert (refused.status_code, refused.json()) == (
            412,
            recorded(412, "failed_precondition: unable to start machine"),
        )


async def test_an_update_of_a_changed_machine_is_a_conflict(tmp_path: Path) -> None:
    """A current_version that is not current changes nothing."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        body = {"current_version": "01" + "0" * 24, "config": {"image": "other:2"}}
        answer = await fly.call("POST", f"/machines/{machine}", body)
        assert (answer.status_code, answer.json()) == (409, recorded(409, "aborted: machine update failed"))
        assert (await fly.call("GET", f"/machines/{machine}")).json()["config"]["image"] == IMAGE


async def test_a_stop_body_must_be_an_object(tmp_path: Path) -> None:
    """An array is the recorded 400; no body at all is fine."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        wrong = await fly.call("POST", f"/machines/{machine}/stop", [])
        assert (wrong.status_code, wrong.json()) == (400, recorded(400, "json: cannot unmarshal array"))
        assert (await fly.call("POST", f"/machines/{machine}/stop")).status_code == 200


@pytest.mark.parametrize("number", ["SIGUSR1", 10])
async def test_signals_come_by_name_or_number(tmp_path: Path, number: object) -> None:
    """fly-go sends numbers."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        assert (await fly.call("POST", f"/machines/{machine}/signal", {"signal": number})).status_code == 200
        assert workload.signals == [10]


async def test_young_machines_are_hidden_from_readers_without_the_cookie(tmp_path: Path) -> None:
    """The read-your-write gap: the affinity cookie closes it."""
    async with fly_inside(tmp_path, stale_reads_s=60) as fly:
        machine = (await fly.create())["id"]
        assert (await fly.call("GET", f"/machines/{machine}")).status_code == 200
        fly.http.cookies.clear()
        assert (await fly.call("GET", f"/machines/{machine}")).status_code == 404
        assert (await fly.call("GET", "/machines")).json() == []


class Broken(ScriptedBackend):
    """Has a mistake in it."""

    async def image(self, reference: str) -> Image:
        raise RuntimeError("a mistake")


async def test_a_mistake_of_localfly_is_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """500, and the traceback on localfly's own error output: a test that meets it can be understood."""
    async with fly_inside(tmp_path, Broken()) as fly:
        transport = httpx.ASGITransport(make_app(fly.fly), raise_app_exceptions=False)
        headers = {"Authorization": "FlyV1 fm2_test"}
        async with httpx.AsyncClient(transport=transport, base_url="http://fly", headers=headers) as http:
            answer = await http.post("/v1/apps/local/machines", json={"config": {"image": IMAGE}})
        assert (answer.status_code, answer.json()) == (500, {"error": "internal: localfly broke"})
        assert "a mistake" in caplog.text


async def test_paths_that_fly_does_not_know(tmp_path: Path) -> None:
    """The recorded plain text, for the logs route of the Machines API and a trailing slash, too."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        for path in ("/machines/", f"/machines/{machine}/", f"/machines/{machine}/logs", "/nothing"):
            answer = await fly.call("GET", path, params={"lines": "5"})
            assert (answer.status_code, answer.text) == (404, "404 page not found\n")
        assert (await fly.call("PUT", f"/machines/{machine}", {})).status_code == 405


async def test_leases_keep_others_out(tmp_path: Path) -> None:
    """Who has no nonce gets the recorded 409 message; the holder may go on and release."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        lease = (await fly.call("POST", f"/machines/{machine}/lease", {"ttl": 60})).json()
        sample = json.loads((FIXTURES / "docs-lease-create.json").read_text())
        assert (lease.keys(), lease["data"].keys()) == (sample.keys(), sample["data"].keys())
        refused = await fly.call("POST", f"/machines/{machine}/stop", {})
        assert refused.status_code == 409
        assert refused.json()["status"] == "error"
        assert f"machine ID {machine} lease currently held by" in refused.json()["message"]
        nonce = {"fly-machine-lease-nonce": lease["data"]["nonce"]}
        assert (await fly.call("DELETE", f"/machines/{machine}/lease", headers=nonce)).status_code == 200
        assert (await fly.call("POST", f"/machines/{machine}/stop", {})).status_code == 200
