"""Fly out of reach for a while, wherever in a run that falls: nothing is lost, and it is told as that."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.fly import APP, TOKEN, eventually
from tests.support.side_by_side import side_by_side
from tests.support.step import CREDENTIAL, bash, script, stage

from flaude_action import MachineConfig, RepoSpec, run_and_destroy
from flaude_action.errors import FlyAPIError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.fly import LocalFlyHandle
    from tests.support.step import Ended, Stage

pytestmark = pytest.mark.claude

ALWAYS = 100_000
ASKING, AGAIN = "Fly does not answer", "Fly answers again"
UNTIL_TOLD = script(bash("until test -e ../../go; do sleep 0.1; done; echo done > done.txt"), "Done.")


@asynccontextmanager
async def outage(
    fly: LocalFlyHandle, path: str = ".", *, calls: int = 3, execs: int = 0, **fault: str
) -> AsyncIterator[None]:
    """No request gets an answer, until the block has ended and so many of ours have failed since it began.

    `execs` of them at least ask the guest: one failure of a kind is not told.
    """
    began = time.time()
    await fly.fault(path, action=fault.pop("action", "drop"), times=ALWAYS, **fault)
    yield

    async def failed() -> bool:
        asked = await fly.requests()
        lost = [each for each in asked if each["at"] > began and each["status"] is None]
        return len(lost) >= calls and sum(each["path"].endswith("/exec") for each in lost) >= execs

    await eventually(failed, within_s=60)
    await fly.forget_faults()


def check(ended: Ended, *files: str) -> None:
    assert (ended.outputs["conclusion"], ended.outputs["error_type"]) == ("success", "")
    assert json.loads(ended.outputs["changed_files"]) == list(files)
    assert (ended.workspace / ended.outputs["patch_file"]).exists()
    assert ended.outputs["execution_file"]
    assert ended.of_level("error") == []


async def go(here: Stage) -> None:
    """Let the agent come to its end, and wait for the guest's result."""
    root = await here.fly.has_file("workspace")
    (root.parent / "go").touch()
    await here.fly.has_file("state/changeset")


async def test_while_the_machine_boots(tmp_path: Path) -> None:
    """From the moment that it is made until it runs, and on."""
    async with stage(tmp_path, boot_delay_s=0.5) as here:
        async with outage(here.fly, r"/(wait|exec|logs)\b|/machines/[0-9a-f]+$", calls=6):
            running = await here.start()
        ended = await running.ended()
    check(ended, "answer.txt")


@pytest.mark.parametrize("verb", ["status", "provision"])
@pytest.mark.parametrize("action", ["drop", "lose_answer"])
async def test_while_the_job_is_handed_over(tmp_path: Path, verb: str, action: str) -> None:
    """Before the guest has its job, or when only its word that it has got lost."""
    async with stage(tmp_path) as here:
        async with outage(here.fly, "/exec$", asks=f'"{verb}"', action=action):
            running = await here.start()
        ended = await running.ended()
    check(ended, "answer.txt")
    assert ended.log.count(ASKING) == ended.log.count(AGAIN) == 1


async def test_from_the_work_until_after_the_result(tmp_path: Path) -> None:
    """The agent comes to its end while nobody can ask; the guest has the result still."""
    async with stage(tmp_path, UNTIL_TOLD) as here:
        await here.fly.fault("/exec$", asks='"status"', skip=1, action="lose_answer", times=ALWAYS)
        running = await here.start()
        await running.until("| > Bash")
        async with outage(here.fly, execs=3):
            await go(here)
        ended = await running.ended()
    check(ended, "done.txt")
    assert ended.log.count(ASKING) == ended.log.count(AGAIN) == 1


@pytest.mark.parametrize("action", ["drop", "lose_answer"])
async def test_while_large_work_is_fetched(tmp_path: Path, action: str) -> None:
    """In the middle of many execs it goes on where it was."""
    turns = script(bash("seq 200000 > large.txt"), "Done.")
    async with stage(tmp_path, turns, exec_output_max_bytes=400_000) as here:
        running = await here.start()

        async def begun() -> bool:
            return sum('"collect"' in each["body"] for each in await here.fly.requests("POST", "/exec")) > 2

        await eventually(begun, within_s=60)
        async with outage(here.fly, action=action):
            pass
        ended = await running.ended()
    check(ended, "large.txt")
    assert (ended.workspace / ended.outputs["patch_file"]).stat().st_size > 1_000_000


@pytest.mark.parametrize("action", ["drop", "lose_answer"])
async def test_when_the_guest_is_released(tmp_path: Path, action: str) -> None:
    """All is here already: the guest goes, or is destroyed, and nobody is told that something went wrong."""
    async with stage(tmp_path) as here:
        await here.fly.fault("/exec$", asks='"release"', action=action, times=ALWAYS)
        ended = await here.step()
        left = await here.machines_left()
    check(ended, "answer.txt")
    assert ended.outputs["cleanup"] in ("destroyed", "already_gone")
    assert (ended.of_level("warning"), left) == ([], [])


async def test_when_the_machine_is_destroyed(tmp_path: Path) -> None:
    """It is asked again; a machine that was released has gone by itself meanwhile."""
    async with stage(tmp_path, destroyed_retention_s=0.0) as here:
        async with outage(here.fly, "/machines/", method="DELETE"):
            running = await here.start()
        ended = await running.ended()
        left = await here.machines_left()
    check(ended, "answer.txt")
    assert ended.outputs["cleanup"] in ("destroyed", "already_gone")
    assert (ended.of_level("warning"), left) == ([], [])


async def test_a_machine_in_anothers_hands(tmp_path: Path) -> None:
    """Somebody holds its lease, or Fly says that it does not run: for a while that is like any trouble."""
    words = {409: "machine ID 0 lease currently held", 412: "failed_precondition: machine not running"}

    async def check_one(folder: Path, code: int, verb: str) -> None:
        async with stage(folder) as here:
            fault = {"status": code, "body": {"error": words[code]}, "asks": f'"{verb}"'}
            await here.fly.fault("/exec$", skip=int(verb == "status"), times=ALWAYS, **fault)
            running = await here.start()
            await running.until(ASKING)
            await asyncio.sleep(25 if verb == "status" else 1)
            await here.fly.forget_faults()
            ended = await running.ended()
        check(ended, "answer.txt")
        assert f"{ASKING} (HTTP {code})" in ended.log
        assert ended.log.count(ASKING) == ended.log.count(AGAIN) == 1

    asked = ((code, verb) for code in words for verb in ("status", "collect"))
    cases = {f"{code} to {verb}": partial(check_one, code=code, verb=verb) for code, verb in asked}
    await side_by_side(tmp_path, cases)


def library(here: Stage, monkeypatch: pytest.MonkeyPatch, **config: object) -> MachineConfig:
    monkeypatch.setenv("FLY_FLAPS_BASE_URL", here.fly.flaps_url)
    monkeypatch.setenv("FLY_API_BASE_URL", here.fly.api_url)
    given = {
        "image": here.image,
        "prompt": "Fix it.",
        "claude_code_oauth_token": CREDENTIAL,
        "anthropic_base_url": here.model,
        "repos": [RepoSpec(f"{here.githost}/acme/widget", sha=here.sha)],
        "timeout_s": 60.0,
    }
    return MachineConfig(**given | config)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", ["ours", "foreign"])
async def test_an_outage_that_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str) -> None:
    """When the run's own deadline passes while Fly does not answer, that is what is told: not a timeout."""
    images = {"foreign:1": {"argv": ["sleep", "60"]}}
    async with stage(tmp_path, UNTIL_TOLD, images=images) as here:
        changes = {} if image == "ours" else {"image": "foreign:1", "guest": "foreign"}
        config = library(here, monkeypatch, **changes)
        await here.fly.fault(r"/exec$|/wait\?state=st", action="drop", times=ALWAYS)
        with pytest.raises(FlyAPIError) as raised:
            await run_and_destroy(APP, config, token=TOKEN, wait_timeout=5)
        left = await here.machines_left()
    assert raised.value.type == "machine_api_unavailable"
    assert left == []


SILENCES: dict[str, dict[str, Any]] = {
    "no answer": {"action": "drop"},
    "lost answers": {"action": "lose_answer"},
    "another's words": {"action": "respond", "status": 502, "body": "<h1>Bad gateway</h1>"},
}


async def test_a_cancel_while_fly_is_out_of_reach(tmp_path: Path) -> None:
    """Told in time; that the machine may be left as well, and `post` sees to it when Fly answers again."""
    turns = script(bash("echo half > half.txt; sleep 60"), "Too late.")

    async def check(folder: Path, fault: dict[str, Any]) -> None:
        async with stage(folder, turns) as here:
            running = await here.start()
            await here.fly.has_file("workspace/*/half.txt")
            await here.fly.fault(".", times=ALWAYS, **fault)
            running.signal(signal.SIGINT)
            ended = await running.ended()
            await here.fly.forget_faults()
            said = await running.post()
            left = await here.machines_left()
        assert ended.outputs["conclusion"] == "cancelled"
        assert ended.outputs["cleanup"].startswith("leaked:")
        assert [text for text in ended.of_level("warning") if "cleanup_failed" in text]
        assert "is destroyed." in said or fault["action"] == "lose_answer"  # then it has gone already
        assert left == []

    await side_by_side(tmp_path, {name: partial(check, fault=fault) for name, fault in SILENCES.items()})


async def test_a_foreign_machine_that_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is seen when Fly answers again."""
    images = {"foreign:1": {"argv": ["sh", "-c", "exit 0"]}}
    async with stage(tmp_path, images=images) as here:
        config = library(here, monkeypatch, image="foreign:1", guest="foreign")
        async with outage(here.fly, r"/wait\b"):
            running = asyncio.ensure_future(run_and_destroy(APP, config, token=TOKEN))
        result = await running
    assert (result.conclusion, result.exit_code) == ("success", 0)


@pytest.mark.full
async def test_two_minutes(tmp_path: Path) -> None:
    """For real, side by side: while the agent works, and when what the guest handed over last was lost.

    Each is longer than the guest would hold for nobody.
    """
    cases = {
        "it works": _while_it_works,
        "the first part was lost": _last_answer_lost,
        "a later part was lost": partial(_last_answer_lost, asked=3),
    }
    await side_by_side(tmp_path, cases)


async def _while_it_works(place: Path) -> None:
    turns = script(bash("echo done > done.txt; sleep 30"), "Done.")
    async with stage(place, turns, rate_limits=True) as here:
        running = await here.start(timeout="300s")
        await running.until("| > Bash")
        await _silence(here)
        ended = await running.ended()
        too_many = [each for each in await here.fly.requests() if each["status"] == 429]
        left = await here.machines_left()
    check(ended, "done.txt")
    assert ended.log.count(ASKING) == ended.log.count(AGAIN) == 1
    assert (too_many, left) == ([], [])


async def _last_answer_lost(place: Path, asked: int = 1) -> None:
    """Of so many that carry the work: all of it, or a part that is not the first."""
    turns = script(bash("seq 200000 > large.txt"), "Done.")
    settings = {"exec_output_max_bytes": 1 << 20} if asked > 1 else {}
    async with stage(place, turns, **settings) as here:
        await here.fly.fault("/exec$", asks='"collect"', skip=asked - 1, action="lose_answer")
        running = await here.start(timeout="300s")

        async def lost() -> bool:
            execs = [each for each in await here.fly.requests("POST", "/exec") if '"collect"' in each["body"]]
            return len(execs) >= asked

        await eventually(lost, within_s=60)
        await _silence(here)
        ended = await running.ended()
    check(ended, "large.txt")


async def _silence(here: Stage) -> None:
    await here.fly.fault(".", action="drop", times=ALWAYS)
    await asyncio.sleep(120)
    await here.fly.forget_faults()
