"""localfly.flyd: its own end and its next life over the same machines."""

import signal
from pathlib import Path

import pytest
from tests.support.fly_inside import ScriptedBackend, fly_inside


async def test_the_end_of_localfly_removes_what_runs(tmp_path: Path) -> None:
    """Leaving kills and removes every workload."""
    async with fly_inside(tmp_path) as fly:
        _, workload = await fly.started()
    assert (workload.signals, workload.removed) == ([signal.SIGKILL], True)


async def test_kept_machines_are_found_again_after_their_last_line(tmp_path: Path) -> None:
    """A later localfly attaches behind the last line that was told and tells the end."""
    async with fly_inside(tmp_path, keep_machines=True) as fly:
        machine, workload = await fly.started()
        workload.say("one", "two")
    backend = ScriptedBackend(surviving={machine: workload})
    async with fly_inside(tmp_path, backend) as fly:
        assert backend.attached_after == [2]
        assert (await fly.call("GET", f"/machines/{machine}")).json()["state"] == "started"
        workload.end(5)
        await fly.reach(machine, "stopped")
        assert (await fly.exit_event(machine))["request"]["exit_event"]["exit_code"] == 5


async def test_a_workload_that_did_not_survive_is_told_as_killed(tmp_path: Path) -> None:
    """Nothing is known of its end, so it is no success."""
    async with fly_inside(tmp_path, keep_machines=True) as fly:
        machine, _ = await fly.started(auto_destroy=True)
    async with fly_inside(tmp_path) as fly:
        await fly.reach(machine, "destroyed")
        event = (await fly.exit_event(machine))["request"]["exit_event"]
        assert (event["exit_code"], event["signal"]) == (137, 9)


async def test_a_destroy_that_was_begun_is_finished_after_a_restart(tmp_path: Path) -> None:
    """`destroying` does not last for ever because localfly died in it."""
    async with fly_inside(tmp_path, boot_delay_s=30, destroy_delay_s=30) as fly:
        machine = (await fly.create())["id"]
        await fly.call("DELETE", f"/machines/{machine}")
    async with fly_inside(tmp_path) as fly:
        await fly.reach(machine, "destroyed")
        assert fly.backend.started == []


@pytest.mark.parametrize(("order", "launches"), [("stop", 0), ("restart", 1)])
async def test_what_was_ending_is_ended_after_a_restart(tmp_path: Path, order: str, launches: int) -> None:
    """A program that ignores its signal is killed by the next localfly, and a restart still starts."""
    stop = {"signal": "SIGINT", "timeout": "20ms"}
    async with fly_inside(tmp_path, keep_machines=True) as fly:
        machine, workload = await fly.started(stop_config=stop)
        late = {"timeout": "30s"}
        await fly.call("POST", f"/machines/{machine}/{order}", late, params=late)
    backend = ScriptedBackend(surviving={machine: workload})
    async with fly_inside(tmp_path, backend) as fly:
        await fly.reach(machine, "started" if launches else "stopped")
        assert len(backend.started) == launches
        assert (await fly.exit_event(machine))["request"]["exit_event"]["requested_stop"] is True


@pytest.mark.parametrize("survives", [True, False])
@pytest.mark.parametrize(("skip_launch", "last"), [(False, "started"), (True, "stopped")])
async def test_an_update_that_was_begun_is_finished_after_a_restart(
    tmp_path: Path, survives: bool, skip_launch: bool, last: str
) -> None:
    """`replacing` does not last for ever, whether the old workload is still there or not."""
    async with fly_inside(tmp_path, keep_machines=True) as fly:
        machine, workload = await fly.started()
        workload.immortal = True
        body = {"config": {"image": "other:2"}, "skip_launch": skip_launch}
        await fly.call("POST", f"/machines/{machine}", body)
    workload.immortal = False
    backend = ScriptedBackend(surviving={machine: workload} if survives else {})
    async with fly_inside(tmp_path, backend) as fly:
        await fly.reach(machine, last)
        assert [each.launch.image for each in backend.started] == ([] if skip_launch else ["other:2"])


async def test_an_update_of_a_stopped_machine_that_was_begun_is_finished_too(tmp_path: Path) -> None:
    """It is left stopped, as it would have been."""
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.end(0)
        await fly.reach(machine, "stopped")
        record = fly.fly.store.machines[machine]
        record.enter("replacing")
        fly.fly.store.save(record)
    async with fly_inside(tmp_path) as fly:
        await fly.reach(machine, "stopped")
        assert fly.backend.started == []
