"""Work of many megabytes and its way to us: Fly's rate limits, what Fly cuts, what arrives spoilt."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.fly import eventually
from tests.support.patches import applied
from tests.support.side_by_side import side_by_side
from tests.support.step import bash, script, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fly import LocalFlyHandle
    from tests.support.step import Ended, Running

pytestmark = pytest.mark.claude

COLLECT = '"collect"'
DATA = r'data\\": \\"'


def large(size: int) -> dict[str, Any]:
    """The agent writes a text of that size whose lines are all different."""
    line = f"print(*map('%015d'.__mod__, range({size // 16})), sep='\\n', file=open('large.txt', 'w'))"
    return script(bash(f'python3 -c "{line}"'), "Written.")


def carried(ended: Ended) -> int:
    """The patch's size, which must be that of work that arrived whole."""
    assert (ended.outputs["conclusion"], ended.outputs["cleanup"]) == ("success", "destroyed")
    assert json.loads(ended.outputs["changed_files"]) == ["large.txt"]
    return (ended.workspace / ended.outputs["patch_file"]).stat().st_size


async def refused(fly: LocalFlyHandle) -> list[str]:
    return [request["path"] for request in await fly.requests() if request["status"] == 429]


async def collects(fly: LocalFlyHandle) -> list[dict[str, Any]]:
    return [request for request in await fly.requests("POST", "/exec") if COLLECT in request["body"]]


async def _within_flys_limits(folder: Path, size: int) -> None:
    async with stage(folder, large(size), rate_limits=True) as here:
        ended = await here.step(timeout="300s")
        execs, too_many = await collects(here.fly), await refused(here.fly)
        left = await here.machines_left()
    patch = carried(ended)
    assert patch >= size
    least = patch / (2**20 * 3 / 4)
    assert len(execs) <= 1.15 * least + 3
    assert too_many == []
    assert left == []
    took = execs[-1]["at"] - execs[0]["at"]
    assert took < 2 * len(execs)


async def _more_than_a_change_holds(folder: Path) -> None:
    """As much as fits arrives, and the step is red."""
    noise = bash("for n in 1 2 3 4; do head -c 18${n}00000 /dev/urandom > $n.bin; done")
    async with stage(folder, script(noise, "Done."), rate_limits=True) as here:
        ended = await here.step(timeout="300s")
        assert applied(here, ended) == {"1.bin": "A", "2.bin": "A"}
    assert (ended.exit_code, ended.outputs["error_type"]) == (1, "collect_failed")
    assert json.loads(ended.outputs["changed_files"]) == ["1.bin", "2.bin"]
    (error,) = ended.of_level("error")
    assert "`4.bin` (17.5 MiB, too large), `3.bin` (17.5 MiB, too large)" in error


async def test_large_work_arrives_within_flys_limits(tmp_path: Path) -> None:
    """Not a single 429, and hardly more execs than their bytes need; so it is a matter of seconds."""
    await _within_flys_limits(tmp_path, 6_000_000)


@pytest.mark.full
async def test_the_largest_work(tmp_path: Path) -> None:
    """The same for as much as a change may hold, and for more than that."""
    cases = {"30 MB": partial(_within_flys_limits, size=30_000_000), "too much": _more_than_a_change_holds}
    await side_by_side(tmp_path, cases)


async def test_what_fly_cuts_is_found_out_once(tmp_path: Path) -> None:
    """However much of a command's output Fly carries."""

    async def check(folder: Path, cap: int) -> None:
        async with stage(folder, large(2_000_000), exec_output_max_bytes=cap) as here:
            ended = await here.step()
            execs, too_many = await collects(here.fly), await refused(here.fly)
        patch = carried(ended)
        assert len(execs) <= 1.15 * patch / (cap * 3 / 4) + 3
        assert too_many == []

    caps = 256 * 1024, 300_000, 16 * 2**20
    await side_by_side(tmp_path, {f"{cap} bytes": partial(check, cap=cap) for cap in caps})


async def test_a_result_larger_than_an_answer(tmp_path: Path) -> None:
    """The list of files and Claude Code's last words alone may be more than Fly carries."""
    files = bash('for n in $(seq 300); do echo x > "a_rather_long_file_name_number_$n.txt"; done')
    words = "\n".join(f"caf\u00e9 \U0001f600 {number}" for number in range(600))

    async def check(folder: Path, cap: int) -> None:
        async with stage(folder, script(files, words), exec_output_max_bytes=cap) as here:
            ended = await here.step()
        assert (ended.outputs["conclusion"], ended.outputs["cleanup"]) == ("success", "destroyed")
        assert len(json.loads(ended.outputs["changed_files"])) == 300
        assert "caf\u00e9 \U0001f600 0" in ended.summary

    await side_by_side(
        tmp_path, {f"{cap} bytes": partial(check, cap=cap) for cap in (16 * 1024, 128 * 1024, 2**24)}
    )


async def test_a_large_result_on_its_way(tmp_path: Path) -> None:
    """A part that comes wrong is asked for again; when all do, that is told as what it is."""
    files = bash('for n in $(seq 300); do echo x > "a_rather_long_file_name_number_$n.txt"; done')

    async def check(folder: Path, times: int, error_type: str) -> None:
        async with stage(folder, script(files, "Done."), exec_output_max_bytes=16 * 1024) as here:
            spoil = {"action": "alter", "find": DATA + "....", "put": DATA + "AAAA"}
            await here.fly.fault("/exec$", asks='"result"', times=times, **spoil)
            ended = await here.step()
            left = await here.machines_left()
        assert (ended.outputs["error_type"], ended.outputs["cleanup"], left) == (error_type, "destroyed", [])
        assert len(json.loads(ended.outputs["changed_files"])) == (0 if error_type else 300)
        assert ("The guest's result could not be fetched whole." in ended.log) == bool(error_type)

    cases = {"once": partial(check, times=1, error_type="")}
    await side_by_side(tmp_path, cases | {"always": partial(check, times=1000, error_type="collect_failed")})


async def test_a_cancel_while_a_large_result_is_fetched(tmp_path: Path) -> None:
    """What is here of it is not asked for again, and nobody is interrupted who has come to the end."""
    many = bash('for n in $(seq 900); do echo x > "a_rather_long_file_name_number_$n.txt"; done')
    turns = script(many, "word " * 12_000)
    async with stage(tmp_path, turns, rate_limits=True, exec_output_max_bytes=16 * 1024) as here:
        running = await here.start()

        async def fetching() -> bool:
            return len(await collects(here.fly)) >= 3

        await eventually(fetching, within_s=60)
        ended = await cancelled_in_time(here.fly, running)
        asked = [request["body"] for request in await here.fly.requests("POST", "/exec")]
    assert (ended.outputs["conclusion"], ended.exit_code) == ("cancelled", 130)
    assert not [body for body in asked if '"interrupt"' in body]
    assert len([body for body in asked if '"result","0"' in body]) <= 2


async def test_a_cancel_keeps_work_with_a_large_result(tmp_path: Path) -> None:
    """In the little time that there is."""
    many = bash('for n in $(seq 900); do echo x > "a_rather_long_file_name_number_$n.txt"; done; echo > end')
    turns = script(many, bash("sleep 30"), "Too late.")
    async with stage(tmp_path, turns, rate_limits=True, exec_output_max_bytes=256 * 1024) as here:
        running = await here.start()
        await here.fly.has_file("workspace/*/end")
        ended = await cancelled_in_time(here.fly, running)
    assert len(json.loads(ended.outputs["changed_files"])) == 901


SPOILT: dict[str, dict[str, Any]] = {
    "a wrong chunk": {"action": "alter", "find": DATA + "....", "put": DATA + "AAAA"},
    "a chunk that is no base64": {"action": "alter", "find": DATA + "....", "put": DATA + "%%%%"},
    "a garbled answer": {"action": "alter", "find": r'\\"protocol\\"', "put": "protocol"},
    "a cut answer": {"action": "alter", "find": r"(?<=data).*(?=stderr)", "put": r'", "'},
    "no JSON": {"action": "respond", "status": 200, "body": "<html>maintenance</html>"},
    "an empty answer": {"action": "respond", "status": 200, "body": {"stdout": "", "exit_code": 0}},
    "a lost answer": {"action": "lose_answer"},
    "dropped": {"action": "drop", "times": 4},
    "500": {"action": "respond", "status": 500, "body": "busy", "times": 4},
    "408": {"action": "respond", "status": 408, "body": {"error": "deadline_exceeded"}, "times": 4},
    "429": {"action": "respond", "status": 429, "body": {"error": "rate limit exceeded"}, "times": 2},
    "502 in HTML": {"action": "respond", "status": 502, "body": "<h1>Bad gateway</h1>", "times": 4},
}
QUICK = ("a wrong chunk", "a garbled answer", "no JSON", "dropped", "500")


async def _asked_for_again(folder: Path, fault: dict[str, Any]) -> None:
    async with stage(folder, large(1_000), rate_limits=True) as here:
        await here.fly.fault("/exec$", asks=COLLECT, **fault)
        ended = await here.step()
        too_many = await refused(here.fly)
    assert carried(ended) >= 1_000
    assert ended.outputs["execution_file"]
    assert ended.annotations == []
    assert fault.get("status") == 429 or too_many == []


@pytest.mark.parametrize("name", QUICK)
async def test_what_comes_spoilt_is_asked_for_again(tmp_path: Path, name: str) -> None:
    """The whole work arrives: patch, list of files and transcript."""
    await _asked_for_again(tmp_path, SPOILT[name])


@pytest.mark.full
async def test_whatever_comes_spoilt_is_asked_for_again(tmp_path: Path) -> None:
    """In other ways too."""
    others = {name: fault for name, fault in SPOILT.items() if name not in QUICK}
    cases = {name: partial(_asked_for_again, fault=fault) for name, fault in others.items()}
    await side_by_side(tmp_path, cases)


async def test_a_part_of_large_work_that_comes_spoilt(tmp_path: Path) -> None:
    """In the middle of many: that part alone is asked for again."""
    async with stage(tmp_path, large(3_000_000), exec_output_max_bytes=700_000) as here:
        await here.fly.fault("/exec$", asks=COLLECT, skip=3, **SPOILT["a wrong chunk"])
        ended = await here.step()
        execs = await collects(here.fly)
    patch = carried(ended)
    assert len(execs) <= 1.15 * patch / (700_000 * 3 / 4) + 4


EVERY_VERB = ("status", "provision", "release")


@pytest.mark.parametrize("verb", EVERY_VERB)
async def test_one_garbled_answer_to_any_verb(tmp_path: Path, verb: str) -> None:
    """What somebody on the way spoilt once is no reason to give up."""
    async with stage(tmp_path, large(1_000)) as here:
        spoil = {**SPOILT["a garbled answer"], "times": 2 if verb == "status" else 1}
        await here.fly.fault("/exec$", asks=f'"{verb}"', **spoil)
        ended = await here.step()
    assert carried(ended) >= 1_000


async def cancelled_in_time(fly: LocalFlyHandle, running: Running) -> Ended:
    """Cancel, and see the machine destroyed and all told within the runner's patience, and no limit met."""
    began = time.time()
    running.signal(signal.SIGINT)
    ended = await running.ended()
    seconds = time.time() - began
    [destroyed] = await fly.requests("DELETE", "/machines/")
    assert destroyed["at"] - began < 5
    assert seconds < 7.5  # the runner kills then
    assert ended.outputs["cleanup"] == "destroyed"
    assert await refused(fly) == []
    return ended


async def test_a_cancel_while_large_work_is_fetched(tmp_path: Path) -> None:
    """Under Fly's limits, with their turns used up: destroyed and told within the runner's patience."""
    limits = {"rate_limits": True, "exec_output_max_bytes": 64 * 1024}
    async with stage(tmp_path, large(3_000_000), **limits) as here:
        running = await here.start()

        async def fetching() -> bool:
            return len(await collects(here.fly)) > 4

        await eventually(fetching, within_s=60)
        await cancelled_in_time(here.fly, running)


async def test_a_cancel_in_the_first_seconds(tmp_path: Path) -> None:
    """When the commands so far have used up Fly's burst, the interrupt still finds its turn, and the work
    arrives."""
    turns = script(bash("echo half > half.txt; sleep 30"), "Too late.")
    async with stage(tmp_path, turns, rate_limits=True) as here:
        running = await here.start()
        await here.fly.has_file("workspace/*/half.txt")
        ended = await cancelled_in_time(here.fly, running)
    assert json.loads(ended.outputs["changed_files"]) == ["half.txt"]


async def test_many_machines_of_one_app_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Limits are each machine's own."""
    async with stage(tmp_path, large(1_000), rate_limits=True) as here:
        ends = await asyncio.gather(*(here.step() for _ in range(3)))
        too_many = await refused(here.fly)
    assert [carried(ended) >= 1_000 for ended in ends] == [True] * 3
    assert too_many == []
