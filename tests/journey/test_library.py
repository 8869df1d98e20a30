"""The library against localfly: results, exceptions by kind, cancellation, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.step import CREDENTIAL, IMAGE, REPOSITORY, Stage, bash, script, stage

from flaude_action import (
    ConfigError,
    FlyAPIError,
    MachineConfig,
    MachineExitError,
    MachineTimeout,
    RepoSpec,
    RunCancelled,
    ensure_app,
    extract_exit_code_from_logs,
    run_and_destroy,
    run_with_logs,
)
from flaude_action.secret import SecretStr

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_action import StreamingRun

pytestmark = pytest.mark.claude

SLOW = script(bash("echo half > half.txt; sleep 30"), "Too late.")
FOREIGN = {"argv": ["sh", "-c", "echo working; echo $FLAUDE_PROMPT; exit ${CODE:-0}"]}


def config(here: Stage, **changes: Any) -> MachineConfig:
    told: dict[str, Any] = {
        "image": IMAGE,
        "prompt": "Fix it.",
        "claude_code_oauth_token": CREDENTIAL,
        "anthropic_base_url": here.model,
        "repos": [RepoSpec(f"{here.githost}/{REPOSITORY}.git", sha=here.sha)],
    }
    return MachineConfig(**(told | changes))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Point the library at a stage, as its user would: with variables."""

    def point(here: Stage) -> Stage:
        monkeypatch.setenv("FLY_API_TOKEN", here.fly.token)
        monkeypatch.setenv("FLY_FLAPS_BASE_URL", here.fly.flaps_url)
        monkeypatch.setenv("FLY_API_BASE_URL", here.fly.api_url)
        return here

    return point


async def test_result(tmp_path: Path, at: Any) -> None:
    """A good run gives everything a caller needs, in one value."""
    async with stage(tmp_path) as here:
        at(here)
        result = await run_and_destroy(here.fly.app, config(here))
        left = await here.machines_left()
    assert result.success
    assert (result.exit_code, result.exit_code_source, result.destroyed) == (0, "guest_result", True)
    assert result.workspace_files == ("answer.txt",)
    assert b"+fixed" in result.patch
    assert result.result == "Done: the answer is written."
    assert extract_exit_code_from_logs(list(result.logs)) in (
        0,
        None,
    )  # our destroy may cut the last word off
    assert result.log_complete
    assert left == []


async def test_failure_raises_with_flaudes_attributes(tmp_path: Path, at: Any) -> None:
    """A failed run raises MachineExitError with flaude's attributes; its text ends with the log lines."""
    async with stage(tmp_path) as here:
        at(here)
        with pytest.raises(MachineExitError) as raised:
            await run_and_destroy(here.fly.app, config(here, setup="echo no such thing; exit 3"))
    error = raised.value
    assert (error.exit_code, error.type) == (3, "setup_command_failed")
    assert error.machine_id
    assert error.state
    assert "no such thing" in error.logs
    assert str(error).splitlines()[-1] == error.logs[-1]


async def test_failure_without_raising(tmp_path: Path, at: Any) -> None:
    """With raise_on_failure=False the same failure is a result."""
    async with stage(tmp_path) as here:
        at(here)
        result = await run_and_destroy(here.fly.app, config(here, setup="exit 3"), raise_on_failure=False)
    assert not result.success
    assert (result.conclusion, result.failure_type, result.exit_code) == (
        "failure",
        "setup_command_failed",
        3,
    )


async def test_a_part_of_a_secret_stands_in_the_change(tmp_path: Path, at: Any) -> None:
    """Of a file that is a secret also what is one in it; what it holds besides is none."""
    kubeconfig = SecretStr("apiVersion: v1\nkind: Config\nuser:\n  token: hunter2hunter2\n")
    for writes, type_ in (("hunter2hunter2", "secret_in_changes"), ("apiVersion: v1", "")):
        (folder := tmp_path / (type_ or "success")).mkdir()
        async with stage(folder, script(bash(f"echo '{writes}' > conf"), "Done.")) as here:
            at(here)
            given = config(here, env={"KUBECONFIG_TEXT": kubeconfig})
            result = await run_and_destroy(here.fly.app, given, raise_on_failure=False)
        assert result.failure_type == type_
        assert bool(result.patch) == (not type_)


async def test_too_slow_is_a_timeout(tmp_path: Path, at: Any) -> None:
    """wait_timeout raises a TimeoutError that is no cancellation; the machine's own end is near it too."""
    async with stage(tmp_path, SLOW) as here:
        at(here)
        began = time.monotonic()
        with pytest.raises(TimeoutError) as raised:
            await run_and_destroy(here.fly.app, config(here), wait_timeout=5)
        seconds = time.monotonic() - began
        left = await here.machines_left()
        create = (await here.fly.requests("POST", "/machines"))[0]
    assert isinstance(raised.value, MachineTimeout)
    assert raised.value.type == "run_timeout"
    assert raised.value.details == "`wait_timeout` was 5 s."
    assert json.loads(create["body"])["config"]["env"]["FLAUDE_DEADLINE_S"] == "65"
    assert 5 <= seconds < 30
    assert left == []


async def test_cancelled_task_cleans_up_first(tmp_path: Path, at: Any) -> None:
    """task.cancel() raises CancelledError, after the machine is destroyed."""
    async with stage(tmp_path, SLOW) as here:
        at(here)
        task = asyncio.ensure_future(run_and_destroy(here.fly.app, config(here)))
        async with asyncio.timeout(20):
            while not await here.fly.requests("POST", "/exec"):  # noqa: ASYNC110 - another process has them
                await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = await here.machines_left()
    assert left == []


async def test_cancelled_during_create(tmp_path: Path, at: Any) -> None:
    """A cancel while the create call is in flight leaves no machine either."""
    async with stage(tmp_path, SLOW) as here:
        at(here)
        await here.fly.fault("/machines$", method="POST", action="delay", seconds=1.0)
        task = asyncio.ensure_future(run_and_destroy(here.fly.app, config(here)))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = await here.machines_left()
    assert left == []


async def test_leaving_the_block_early(tmp_path: Path, at: Any) -> None:
    """Leaving the `async with` block in the middle ends the run and destroys the machine."""
    async with stage(tmp_path, SLOW) as here:
        at(here)
        async with await run_with_logs(here.fly.app, config(here)) as run:
            async for line in run:
                if "checked out" in line:
                    break
            assert await here.machines_left() == [run.machine_id]
        left = await here.machines_left()
    assert left == []
    assert run.done


async def at_work_in(run: StreamingRun) -> None:
    async with run:
        await anext(run)
        raise ZeroDivisionError


async def test_an_exception_in_the_block_ends_the_run(tmp_path: Path, at: Any) -> None:
    """What the caller's own code raises is raised, after the machine is destroyed."""
    async with stage(tmp_path, SLOW) as here:
        at(here)
        run = await run_with_logs(here.fly.app, config(here))
        with pytest.raises(ZeroDivisionError):
            await at_work_in(run)
        left = await here.machines_left()
    assert left == []
    assert run.done
    with pytest.raises(RunCancelled):  # we were not cancelled, the run was
        await run.result()


async def test_reading_twice(tmp_path: Path, at: Any) -> None:
    """Lines come once: a second iteration goes on where the first stopped, and ends at the end."""
    async with stage(tmp_path) as here:
        at(here)
        async with await run_with_logs(here.fly.app, config(here)) as run:
            first = [await anext(run) for _ in range(3)]
            rest = [line async for line in run]
            again = [line async for line in run]
            result = await run.result()
    assert first + rest == run.collected_logs == list(result.logs)
    assert again == []


async def test_cancelled_twice(tmp_path: Path, at: Any) -> None:
    """An impatient caller's second cancel does not cut the cleanup short either."""
    async with stage(tmp_path, SLOW, destroy_delay_s=1.0) as here:
        at(here)
        task = asyncio.ensure_future(run_and_destroy(here.fly.app, config(here)))
        async with asyncio.timeout(20):
            while not await here.fly.requests("POST", "/exec"):  # noqa: ASYNC110 - another process has them
                await asyncio.sleep(0.05)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await task
        left = await here.machines_left()
    assert left == []


async def test_result_without_iterating(tmp_path: Path, at: Any) -> None:
    """Nobody has to read the lines to get the result."""
    async with stage(tmp_path) as here:
        at(here)
        run = await run_with_logs(here.fly.app, config(here))
        result = await run.result()
    assert result.success
    assert "[flaude:event:" in run.collected_logs[0]


async def test_runs_side_by_side(tmp_path: Path, at: Any) -> None:
    """Three runs at once end on their own, each with its own machine."""
    async with stage(tmp_path) as here:
        at(here)
        results = await asyncio.gather(*(run_and_destroy(here.fly.app, config(here)) for _ in range(3)))
        left = await here.machines_left()
    assert len({result.machine_id for result in results}) == 3
    assert all(result.success for result in results)
    assert left == []


@pytest.mark.parametrize(("code", "conclusion"), [("0", "success"), ("7", "failure")])
async def test_foreign_image(tmp_path: Path, at: Any, code: str, conclusion: str) -> None:
    """An image without our guest is told its job by its environment, and judged by Fly's exit event."""
    async with stage(tmp_path, images={"theirs:1": FOREIGN}) as here:
        at(here)
        told = config(here, image="theirs:1", guest="foreign", env={"CODE": code})
        result = await run_and_destroy(here.fly.app, told, raise_on_failure=False)
    assert (result.conclusion, str(result.exit_code)) == (conclusion, code)
    assert result.exit_code_source == "api_event"
    assert result.logs == ("working", "Fix it.", *result.logs[2:])


async def test_bad_config_asks_nobody(tmp_path: Path, at: Any) -> None:
    """A config without prompt and credential raises ConfigError with both problems before any request."""
    async with stage(tmp_path) as here:
        at(here)
        with pytest.raises(ConfigError) as raised:
            await run_and_destroy(here.fly.app, config(here, prompt="", claude_code_oauth_token=""))
        asked = await here.fly.requests()
    assert [problem.type for problem in raised.value.problems] == ["prompt_missing", "secret_missing"]
    assert asked == []


async def test_unknown_app(tmp_path: Path, at: Any) -> None:
    """An app that is not there raises FlyAPIError with Fly's status and request id."""
    async with stage(tmp_path) as here:
        at(here)
        with pytest.raises(FlyAPIError) as raised:
            await run_and_destroy("not-there", config(here))
    assert (raised.value.status_code, raised.value.type) == (404, "app_not_found")
    assert raised.value.request_id


async def test_ensure_app(tmp_path: Path, at: Any) -> None:
    """ensure_app makes an app with a network of its own, once."""
    async with stage(tmp_path) as here:
        at(here)
        made = await ensure_app("brand-new")
        again = await ensure_app("brand-new")
        [created] = await here.fly.requests("POST", "/v1/apps")
    assert made.name == again.name == "brand-new"
    assert '"network":"brand-new"' in created["body"].replace(" ", "")


def test_secrets_are_in_no_repr() -> None:
    """A config can be printed without telling its secrets or its prompt."""
    told = MachineConfig(prompt="my plan", claude_code_oauth_token=CREDENTIAL, env={"A": "hidden-value"})
    repo = RepoSpec("https://example.com/x.git", token="clone-secret")
    for secret in ("my plan", CREDENTIAL, "hidden-value", "clone-secret"):
        assert secret not in repr(told) + repr(repo)
