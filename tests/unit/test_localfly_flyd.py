"""localfly.flyd: a machine's ladder, and what is told of it."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.fly_inside import fly_inside

from localfly.backend import Exit

NO = {"policy": "no"}


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Events as (type, status), oldest first."""
    return [(event["type"], event["status"]) for event in reversed(events)]


async def test_a_one_shot_machine_goes_down_the_whole_ladder(tmp_path: Path) -> None:
    """created, started, stopped, destroying, destroyed: six events, of which a machine shows five."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(auto_destroy=True)
        workload.say("hello")
        workload.end(3)
        await fly.reach(machine, "destroyed")
        assert told(await fly.events(machine)) == [
            ("launch", "pending"),
            ("launch", "created"),
            ("start", "started"),
            ("exit", "stopped"),
            ("destroy", "destroying"),
            ("destroy", "destroyed"),
        ]
        shown = (await fly.call("GET", f"/machines/{machine}")).json()
        assert (shown["state"], len(shown["events"])) == ("destroyed", 5)
        assert (await fly.exit_event(machine))["request"]["exit_event"]["exit_code"] == 3
        assert workload.removed


async def test_the_platform_frames_the_workload_s_lines(tmp_path: Path) -> None:
    """The runner pulls and closes, init reports, and the workload's own lines come between."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(auto_destroy=True)
        workload.say("hello")
        workload.end(0)
        await fly.reach(machine, "destroyed")
        lines = [(line.provider, line.message) for line in fly.fly.logs.of(machine).after(0)]
        assert lines == [
            ("runner", "Pulling container image registry.fly.io/local:1"),
            ("app", "hello"),
            ("app", " INFO Main child exited normally with code: 0"),
            ("app", " INFO Starting clean up."),
            ("app", "[    2.314159] reboot: Restarting system"),
            ("runner", "machine exited with exit code 0, not restarting"),
        ]


async def test_a_machine_without_auto_destroy_stays_stopped_and_starts_again(tmp_path: Path) -> None:
    """A second launch is a new workload, and its exit is the newest event of its kind."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.end(1)
        await fly.reach(machine, "stopped")
        answer = await fly.call("POST", f"/machines/{machine}/start")
        assert answer.json() == {"previous_state": "stopped", "migrated": False, "new_host": ""}
        await fly.reach(machine, "started")
        fly.backend.started[-1].end(2)
        await fly.reach(machine, "stopped")
        assert len(fly.backend.started) == 2
        assert (await fly.exit_event(machine))["request"]["exit_event"]["exit_code"] == 2


async def test_a_start_waits_until_the_last_workload_is_cleared_away(tmp_path: Path) -> None:
    """Stopped is told at once, though an engine may need a moment to remove what ran."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.removable.clear()
        workload.end(0)
        await fly.reach(machine, "stopped")
        await fly.call("POST", f"/machines/{machine}/start")
        await asyncio.sleep(0.01)
        assert len(fly.backend.started) == 1
        workload.removable.set()
        await fly.reach(machine, "started")
        assert len(fly.backend.started) == 2


@pytest.mark.parametrize(
    ("restart", "codes", "launches"),
    [
        (NO, [1], 1),
        ({"policy": "on-failure", "max_retries": 2}, [1, 1, 1], 3),
        ({"policy": "on-failure"}, [0], 1),
        ({}, [1, 0], 2),
    ],
)
async def test_the_restart_policy_decides_what_follows_an_exit(
    tmp_path: Path, restart: dict[str, Any], codes: list[int], launches: int
) -> None:
    """`no` never restarts, on-failure (also the default) does after non-zero codes and only so often."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started(restart=restart)
        for code in codes:
            await fly.reach(machine, "started")
            fly.backend.started[-1].end(code)
            machine_record = fly.fly.store.machines[machine]
            await fly.fly.changes.next(machine_record, 1)
        await fly.reach(machine, "stopped")
        assert len(fly.backend.started) == launches


async def test_exhausted_restarts_are_told(tmp_path: Path) -> None:
    """The runner names the limit that was reached."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(restart={"policy": "on-failure", "max_retries": 1})
        workload.end(1)
        await fly.reach(machine, "starting")
        await fly.reach(machine, "started")
        fly.backend.started[-1].end(1)
        await fly.reach(machine, "stopped")
        lines = [line.message for line in fly.fly.logs.of(machine).after(0)]
        assert "machine exited with exit code 1, restarting" in lines
        assert "machine has reached its max restart count of 1" in lines


async def test_a_stop_sends_the_configured_signal_and_is_told_as_requested(tmp_path: Path) -> None:
    """stop_config's signal reaches the workload; the exit event says it was asked for."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(stop_config={"signal": "SIGTERM", "timeout": "5s"})
        workload.ends_at[signal.SIGTERM] = Exit(143, signal.SIGTERM)
        assert (await fly.call("POST", f"/machines/{machine}/stop", {})).json() == {"ok": True}
        await fly.reach(machine, "stopped")
        event = (await fly.exit_event(machine))["request"]["exit_event"]
        assert workload.signals == [signal.SIGTERM]
        assert (event["requested_stop"], event["exit_code"], event["signal"]) == (True, 143, 15)


async def test_a_workload_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    """After the timeout comes SIGKILL."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        await fly.call("POST", f"/machines/{machine}/stop", {"signal": "SIGINT", "timeout": "20ms"})
        await fly.reach(machine, "stopped")
        assert workload.signals == [signal.SIGINT, signal.SIGKILL]


async def test_a_forced_destroy_kills_first(tmp_path: Path) -> None:
    """The exit of the killed workload is told between destroying and destroyed, and it is nobody's result."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
        await fly.reach(machine, "destroyed")
        assert workload.signals == [signal.SIGKILL]
        assert told(await fly.events(machine))[-3:] == [
            ("destroy", "destroying"),
            ("exit", "stopped"),
            ("destroy", "destroyed"),
        ]
        assert (await fly.exit_event(machine))["request"]["exit_event"]["requested_stop"] is True


async def test_a_machine_destroyed_before_it_ran_has_no_exit_event(tmp_path: Path) -> None:
    """As recorded: launch, launch, destroy, destroy."""
    async with fly_inside(tmp_path, boot_delay_s=30) as fly:
        machine = (await fly.create())["id"]
        assert (await fly.call("DELETE", f"/machines/{machine}")).status_code == 200
        await fly.reach(machine, "destroyed")
        assert [kind for kind, _ in told(await fly.events(machine))] == [
            "launch",
            "launch",
            "destroy",
            "destroy",
        ]
        assert fly.backend.started == []


async def test_an_image_nobody_has_fails_the_machine(tmp_path: Path) -> None:
    """The machine is created, then failed, and the runner says why."""
    async with fly_inside(tmp_path) as fly:
        machine = (await fly.create(image="missing:1"))["id"]
        await fly.reach(machine, "failed")
        assert told(await fly.events(machine))[-1] == ("launch", "failed")
        last = list(fly.fly.logs.of(machine).after(0))[-1]
        assert (last.provider, last.message) == (
            "runner",
            "Failed to pull container image missing:1: no such image",
        )


async def test_an_image_nobody_has_may_be_refused_at_once(tmp_path: Path) -> None:
    """The other reading, as a setting: 400 and no machine."""
    async with fly_inside(tmp_path, missing_image="refused") as fly:
        answer = await fly.call("POST", "/machines", {"config": {"image": "missing:1"}})
        assert answer.status_code == 400
        assert (await fly.call("GET", "/machines")).json() == []


async def test_an_update_reboots_a_running_machine_into_a_new_version(tmp_path: Path) -> None:
    """The old workload is killed, the new one has the new configuration and another instance id."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(env={"A": "1"})
        config = {"image": "other:2", "env": {"A": "2"}, "restart": NO}
        updated = (await fly.call("POST", f"/machines/{machine}", {"config": config})).json()
        assert updated["state"] == "replacing"
        await fly.reach(machine, "started")
        assert workload.signals == [signal.SIGKILL]
        assert fly.backend.started[-1].launch.env["A"] == "2"
        versions = (await fly.call("GET", f"/machines/{machine}/versions")).json()
        assert (len(versions), versions[0]["version"]) == (2, updated["instance_id"])


async def test_an_update_leaves_a_stopped_machine_stopped(tmp_path: Path) -> None:
    """Only the version changes."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.end(0)
        await fly.reach(machine, "stopped")
        await fly.call("POST", f"/machines/{machine}", {"config": {"image": "other:2"}})
        await fly.reach(machine, "stopped")
        assert len(fly.backend.started) == 1


async def test_a_destroy_overtakes_an_update(tmp_path: Path) -> None:
    """A machine that was to come up in a new version stays destroyed."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        await fly.call("POST", f"/machines/{machine}", {"config": {"image": "other:2"}})
        await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
        await fly.reach(machine, "destroyed")
        await asyncio.sleep(0.02)
        assert fly.fly.store.machines[machine].state == "destroyed"
        assert len(fly.backend.started) == 1


@pytest.mark.parametrize("apart_s", [0.0, 0.02])
async def test_a_second_update_overtakes_the_first(tmp_path: Path, apart_s: float) -> None:
    """One workload runs afterwards, the newest version's."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        for image, boot_delay_s in (("other:2", 30), ("other:3", 0)):
            fly.fly.settings.boot_delay_s = boot_delay_s
            await fly.call("POST", f"/machines/{machine}", {"config": {"image": image}})
            await asyncio.sleep(apart_s)
        await fly.reach(machine, "started")
        await asyncio.sleep(0.02)
        assert [workload.launch.image for workload in fly.backend.started[1:]] == ["other:3"]


async def test_an_update_of_what_is_just_coming_up_overtakes_it(tmp_path: Path) -> None:
    """The version that nobody wants any more is never told as started."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        record = fly.fly.store.machines[machine]
        fly.backend.answers.clear()
        for image in ("other:2", "other:3"):
            record.replace_config(record.config | {"image": image}, {})
            fly.fly.flyd.replace(record, skip_launch=False)
            await asyncio.sleep(0.01)
        fly.backend.answers.set()
        await fly.reach(machine, "started")
        assert fly.backend.started[-1].launch.image == "other:3"
        assert told(await fly.events(machine)).count(("start", "started")) == 2


async def test_of_two_updates_of_the_same_version_one_is_a_conflict(tmp_path: Path) -> None:
    """Also when both arrive while the image is looked up."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        version = fly.fly.store.machines[machine].instance_id
        body = {"config": {"image": "other:2"}, "current_version": version}
        fly.backend.answers.clear()
        updates = [asyncio.create_task(fly.call("POST", f"/machines/{machine}", body)) for _ in range(2)]
        await asyncio.sleep(0.02)
        fly.backend.answers.set()
        assert sorted([(await update).status_code for update in updates]) == [200, 409]


async def test_an_update_that_arrives_at_the_end_does_not_revive_a_machine(tmp_path: Path) -> None:
    """The machine is destroyed while the image is looked up: 412."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        fly.backend.answers.clear()
        updating = asyncio.create_task(
            fly.call("POST", f"/machines/{machine}", {"config": {"image": "other:2"}})
        )
        await asyncio.sleep(0.01)
        await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
        fly.backend.answers.set()
        assert (await updating).status_code == 412
        await fly.reach(machine, "destroyed")


async def test_a_stop_reaches_a_machine_that_is_coming_up(tmp_path: Path) -> None:
    """Nothing is started any more, nothing exited, and the machine rests as stopped."""
    async with fly_inside(tmp_path, boot_delay_s=30) as fly:
        machine = (await fly.create())["id"]
        assert (await fly.call("POST", f"/machines/{machine}/stop", {})).status_code == 200
        await fly.reach(machine, "stopped")
        assert fly.backend.started == []
        assert not [event for event in await fly.events(machine) if event["type"] == "exit"]


async def test_a_stop_ends_a_loop_of_restarts(tmp_path: Path) -> None:
    """Even between two launches."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started(restart={"policy": "always"})
        fly.fly.settings.boot_delay_s = 30
        workload.end(1)
        await fly.reach(machine, "starting")
        await fly.call("POST", f"/machines/{machine}/stop", {})
        await fly.reach(machine, "stopped")
        assert len(fly.backend.started) == 1


async def test_a_restart_keeps_the_version(tmp_path: Path) -> None:
    """Stop and start again, same instance id."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.ends_at[signal.SIGINT] = Exit(130, signal.SIGINT)
        before = (await fly.call("GET", f"/machines/{machine}")).json()["instance_id"]
        assert (await fly.call("POST", f"/machines/{machine}/restart")).json() == {"ok": True}
        await fly.reach(machine, "started")
        assert len(fly.backend.started) == 2
        assert (await fly.call("GET", f"/machines/{machine}")).json()["instance_id"] == before


@pytest.mark.parametrize("turns", range(5))
async def test_a_restart_of_what_is_just_ending_restarts_it(tmp_path: Path, turns: int) -> None:
    """However many turns of the loop lie between the end and the order."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        record = fly.fly.store.machines[machine]
        workload.end(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        in_time = record.state == "started"
        fly.fly.flyd.restart(record, ((signal.SIGINT, 5.0),))
        await asyncio.sleep(0.02)
        assert (record.state, len(fly.backend.started)) == (("started", 2) if in_time else ("stopped", 1))


async def test_a_destroy_overtakes_a_restart(tmp_path: Path) -> None:
    """A machine that was to come up again does not, and nothing says that it would."""
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        await fly.call("POST", f"/machines/{machine}/restart")
        await fly.call("DELETE", f"/machines/{machine}", params={"force": "true"})
        await fly.reach(machine, "destroyed")
        assert len(fly.backend.started) == 1
        assert (await fly.exit_event(machine))["request"]["exit_event"]["restarting"] is False
