"""The main job through the real `main` verb: the endings a user meets, and what is never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.runner import StepLog
from tests.support.side_by_side import side_by_side
from tests.support.step import CREDENTIAL, FIX, GITHUB_TOKEN, ROOT, bash, launch, post, script, stage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.claude

NO_CREDIT = {
    "error": {
        "status": 400,
        "body": {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"},
        },
    }
}
SLOW = script(bash("echo half > half.txt"), bash("sleep 30"), "Too late.")
ALWAYS_SET = {
    "conclusion",
    "exit_code",
    "exit_code_source",
    "error_type",
    "machine_id",
    "log_file",
    "cleanup",
}


async def test_work_is_done_and_told(tmp_path: Path) -> None:
    """A run that works: the file is changed, the outputs tell, the files are there, the machine is gone."""
    async with stage(tmp_path) as here:
        ended = await here.step()
        left = await here.machines_left()
        asked = await here.fly.requests(path="/v1/apps/local")
    calls = [each for each in asked if not each["path"].startswith("/api/")]
    chunks = [each for each in calls if '"collect"' in each["body"]]
    assert len(calls) <= 16 + ended.seconds / 15 + len(chunks)
    assert ended.exit_code == 0
    told = ended.outputs
    assert told["conclusion"] == "success"
    assert (told["exit_code"], told["exit_code_source"]) == ("0", "guest_result")
    assert told["result"] == "Done: the answer is written."
    assert told["num_turns"] == "2"
    assert float(told["cost_usd"]) > 0
    assert json.loads(told["changed_files"]) == ["answer.txt"]
    assert "+fixed" in (ended.workspace / told["patch_file"]).read_text()
    assert "Done: the answer is written." in (ended.workspace / told["log_file"]).read_text()
    assert told["session_id"] in (ended.workspace / told["execution_file"]).read_text()
    assert json.loads((ended.workspace / told["report_file"]).read_text())["conclusion"] == "success"
    assert told["log_complete"] == "true"
    assert told["cleanup"] == "destroyed"
    assert ended.annotations == []
    assert "success" in ended.summary
    assert left == []


ROUGH = {
    "rate limits": {"rate_limits": True},
    "late logs with repeats": {
        "log_lag_s": 1.5,
        "log_boundary": "repeat",
        "log_timestamp_step_ns": 1_000_000,
    },
    "stale reads": {"stale_reads_s": 0.5},
    "omitted zeros": {"exit_event_shape": "omitted_zeros", "exec_exit_code_zero": "omitted"},
    "numbers as cursors": {"log_cursor_form": "number"},
    "slow to boot and to destroy": {"boot_delay_s": 1.0, "destroy_delay_s": 1.0},
}


@pytest.mark.parametrize("settings", ROUGH.values(), ids=ROUGH)
async def test_rough_fly_changes_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Limits, lags, repeats and odd shapes that Fly was seen with: the same verdict and the whole log."""
    async with stage(tmp_path, **settings) as here:
        ended = await here.step()
        left = await here.machines_left()
    assert (ended.exit_code, ended.outputs["conclusion"]) == (0, "success")
    assert ended.outputs["log_complete"] == "true"
    assert ended.outputs["cleanup"] == "destroyed"
    lines = [line for line in ended.log.splitlines() if line.startswith("| Done:")]
    assert len(lines) == 1
    assert left == []


async def test_failure_is_named_and_placed(tmp_path: Path) -> None:
    """A run that fails: one error annotation with the cause, exit 1, the same outputs, the work kept."""
    turns = script(
        bash("echo half > half.txt"),
        NO_CREDIT,
    )
    async with stage(tmp_path, turns) as here:
        ended = await here.step()
    assert ended.exit_code == 1
    assert ended.outputs["conclusion"] == "failure"
    assert ended.outputs["error_type"] == "model_billing"
    assert ended.outputs["retryable"] == "user"
    assert json.loads(ended.outputs["changed_files"]) == ["half.txt"]
    [error] = ended.of_level("error")
    assert "No credit left" in error
    assert ended.outputs["error_ref"] in error
    assert ended.outputs.keys() >= ALWAYS_SET


async def _without_the_log(folder: Path, trouble: str, fails: bool) -> None:
    turns = script(NO_CREDIT) if fails else FIX
    async with stage(folder, turns, logs_readable=trouble != "refused") as here:
        if trouble == "lost":
            nothing = {"data": [], "meta": {}}
            await here.fly.fault(r"/logs\b", times=1000, action="respond", status=200, body=nothing)
        ended = await here.step()
    expected = ("failure", "model_billing", "guest_result") if fails else ("success", "", "guest_result")
    assert tuple(ended.outputs[name] for name in ("conclusion", "error_type", "exit_code_source")) == expected
    assert ended.outputs["log_complete"] == "false"
    assert [text for text in ended.of_level("warning") if "log_stream_lost" in text]
    assert ended.seconds < 40


@pytest.mark.parametrize("fails", [False, True])
async def test_verdict_does_not_need_the_log(tmp_path: Path, fails: bool) -> None:
    """A token that may not read logs changes nothing but adds a warning."""
    await _without_the_log(tmp_path, "refused", fails)


@pytest.mark.full
async def test_verdict_does_not_need_lines(tmp_path: Path) -> None:
    """Nor do logs that are all lost. Each reads on for the 20 s that a log gets."""
    cases = {f"{fails=}": partial(_without_the_log, trouble="lost", fails=fails) for fails in (False, True)}
    await side_by_side(tmp_path, cases)


async def test_secrets_go_where_they_must_and_nowhere_else(tmp_path: Path) -> None:
    """Only provision's stdin holds secrets, github_token is in no request, no file and no log has any."""
    turns = script(bash("env; cat /proc/self/environ | tr '\\0' '\\n'"), "I saw nothing.")
    async with stage(tmp_path, turns) as here:
        ended = await here.step(env="DEPLOY_KEY: hunter2hunter2", show_full_output="true")
        requests = await here.fly.requests()
    holding = [each for each in requests if CREDENTIAL in each["body"] or "hunter2hunter2" in each["body"]]
    assert [json.loads(each["body"])["command"] for each in holding] == [["flaude-guest", "provision"]]
    assert not [each for each in requests if GITHUB_TOKEN in json.dumps(each)]
    tokens = [each for each in requests if here.fly.token in json.dumps({**each, "headers": {}})]
    assert tokens == []
    shown = "\n".join(line for line in ended.log.splitlines() if not line.startswith("::add-mask::"))
    written = [path.read_text() for path in (ended.workspace / ".flaude").rglob("*") if path.is_file()]
    for place in (shown, ended.summary, json.dumps(ended.outputs), *written):
        for secret in (CREDENTIAL, GITHUB_TOKEN, here.fly.token, "hunter2hunter2"):
            assert secret not in place


async def test_unsupervised_death_is_seen(tmp_path: Path) -> None:
    """A machine killed in the middle of the work is a failure with its own name, and soon."""
    async with stage(tmp_path, SLOW) as here:
        running = await here.start()
        await running.until("Claude Code is at work")
        [machine] = await here.machines_left()
        await here.fly.kill(machine)
        ended = await running.ended()
    assert ended.exit_code == 1
    assert ended.outputs["error_type"] in ("killed_by_signal", "machine_oom")
    assert ended.outputs["exit_code_source"] == "api_event"
    assert ended.outputs["signal"] == "9"
    assert ended.seconds < 30


async def test_an_image_that_fly_cannot_pull(tmp_path: Path) -> None:
    """The image is named in what to do, and nobody waits for the last words of a machine that never ran."""
    async with stage(tmp_path) as here:
        ended = await here.step(image="nobody/has:this")
    assert (ended.outputs["error_type"], ended.exit_code) == ("machine_failed", 1)
    assert ended.outputs["error_hint"].startswith("Check that Fly can pull `image:`")
    assert "Failed to pull container image" in ended.log
    assert json.loads(ended.outputs["phase_seconds"])["logs"] < 10


@pytest.mark.full
async def test_vanished_machine_is_lost(tmp_path: Path) -> None:
    """A machine whose record is gone without a word is a failure, never a success."""
    async with stage(tmp_path, SLOW) as here:
        running = await here.start()
        await running.until("Claude Code is at work")
        [machine] = await here.machines_left()
        await here.fly.vanish(machine)
        ended = await running.ended()
    assert ended.outputs["conclusion"] == "failure"
    assert ended.outputs["error_type"] == "machine_lost"
    assert ended.outputs["cleanup"] == "already_gone"


async def test_cancel_saves_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    """SIGINT: the work so far is fetched, the machine destroyed, the step says cancelled."""
    async with stage(tmp_path, SLOW) as here:
        running = await here.start()
        await running.until("> Bash: sleep")
        running.signal(signal.SIGINT)
        before = running.process.returncode
        ended = await running.ended()
        left = await here.machines_left()
        said = await running.post()
    assert before is None
    assert ended.exit_code == 130
    assert ended.outputs["conclusion"] == "cancelled"
    assert ended.outputs["error_type"] == "cancelled"
    assert json.loads(ended.outputs["changed_files"]) == ["half.txt"]
    assert ended.outputs["cleanup"] == "destroyed"
    assert left == []
    assert said == ""


async def test_cancel_before_there_is_a_machine(tmp_path: Path) -> None:
    """A cancel while Fly is still being asked about the app ends the step at once; nothing is created."""
    async with stage(tmp_path) as here:
        await here.fly.fault(r"/v1/apps/local$", action="delay", seconds=20)
        running = await here.start()
        async with asyncio.timeout(20):
            while not await here.fly.requests("GET", "/v1/apps/local"):  # noqa: ASYNC110 - another process has them
                await asyncio.sleep(0.05)
        running.signal(signal.SIGINT)
        began = time.monotonic()
        ended = await running.ended()
        seconds = time.monotonic() - began
        created = await here.fly.requests("POST", "/machines")
    assert (ended.exit_code, ended.outputs["conclusion"]) == (130, "cancelled")
    assert seconds < 6
    assert created == []


async def test_a_machine_that_stays_is_told_whatever_else_failed(tmp_path: Path) -> None:
    """The second machine is refused, the first cannot be destroyed: there is an error and a warning."""
    images = {"shell:1": {"argv": ["bash", "-c", "sleep 60"]}}
    async with stage(tmp_path, images=images) as here:
        held, no = {"error": "lease held"}, {"error": "no more machines"}
        await here.fly.fault("/machines/", method="DELETE", action="respond", status=409, body=held, times=9)
        await here.fly.fault(
            "/machines$", method="POST", action="respond", skip=1, status=422, body=no, times=9
        )
        ended = await here.step(image="shell:1")
        [left] = await here.machines_left()
    assert ended.outputs["error_type"] == "machine_create_rejected"
    assert ended.outputs["cleanup"] == f"leaked:{left}"
    [warning] = ended.of_level("warning")
    assert f"`fly machine destroy --force -a local {left}`" in warning


async def test_post_knows_of_the_machine_but_not_of_its_app(tmp_path: Path) -> None:
    """Whatever the state holds, post says what it could not do and what to type, and fails no job."""
    async with stage(tmp_path) as here:
        for app, inputs in (("", {}), ("", {"fly_app": None}), ("no\n/such app", {})):
            variables = here.variables(inputs, {"STATE_nonce": "0123456789abcdef", "STATE_app": app})
            await here.fly.fault("/machines", method="GET", action="respond", status=403, body={})
            said = await post(variables)
            assert "Traceback" not in said
            assert "::warning title=The machine may still be running::" in said
            assert ("-a local" in said) == (not app and not inputs)


SIGNALLED = """
import os, signal, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == os.environ["SIGNAL_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize("module", ["asyncio", "flaude_action.report", "flaude_action.action", "httpx"])
async def test_cancel_while_modules_are_loaded(tmp_path: Path, module: str) -> None:
    """A cancel as soon as the container's program runs waits until the step can end as cancelled."""
    (tmp_path / "sitecustomize.py").write_text(SIGNALLED)
    async with stage(tmp_path) as here:
        path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
        variables = here.variables({}, {"PYTHONPATH": path, "SIGNAL_AT": module})
        ended = await (await launch(variables, str(ROOT / "docker/flaude-main"))).ended()
        created = await here.fly.requests("POST", "/machines")
    assert (ended.exit_code, ended.outputs["conclusion"]) == (130, "cancelled")
    assert created == []


async def test_cancel_is_told_in_time_whatever_lags(tmp_path: Path) -> None:
    """With lagging logs and a slow destroy, a cancelled step has still told everything within six seconds."""
    async with stage(tmp_path, SLOW, log_lag_s=4.0, destroy_delay_s=8.0) as here:
        running = await here.start()
        await running.until("Claude Code is at work")
        await asyncio.sleep(1.5)
        running.signal(signal.SIGINT)
        began = time.monotonic()
        ended = await running.ended()
        seconds = time.monotonic() - began
        said = await running.post()
    assert seconds < 6
    assert ended.outputs["conclusion"] == "cancelled"
    assert ended.outputs["cleanup"].startswith("leaked:")
    assert [text for text in ended.of_level("warning") if "cleanup_failed" in text]
    assert "is destroyed." in said


async def test_cancel_after_the_verdict_is_told_in_time(tmp_path: Path) -> None:
    """A cancel while the last lines of the log are waited for: the step is over soon, and says it."""
    async with stage(tmp_path, log_lag_s=15.0) as here:
        running = await here.start()
        await running.until("Verdict: success")
        running.signal(signal.SIGINT)
        began = time.monotonic()
        ended = await running.ended()
        seconds = time.monotonic() - began
        left = await here.machines_left()
    assert seconds < 6
    assert (ended.exit_code, ended.outputs["conclusion"]) == (0, "success")
    assert ended.outputs["cleanup"] == "destroyed"
    assert left == []


async def test_term_destroys_at_once(tmp_path: Path) -> None:
    """SIGTERM: no work is saved, the machine is destroyed at once."""
    async with stage(tmp_path, SLOW) as here:
        running = await here.start()
        await running.until("> Bash: sleep")
        running.signal(signal.SIGTERM)
        ended = await running.ended()
        left = await here.machines_left()
    assert ended.outputs["conclusion"] == "cancelled"
    assert ended.outputs["changed_files"] == "[]"
    assert left == []


async def test_post_destroys_what_main_could_not(tmp_path: Path) -> None:
    """main is killed outright: post finds the machine by its nonce, with and without the runner's state."""
    for state in ({}, {"STATE_nonce": "", "STATE_app": ""}):
        folder = tmp_path / str(len(state))
        folder.mkdir()
        async with stage(folder, SLOW) as here:
            running = await here.start()
            await running.until("Claude Code is at work")
            running.signal(signal.SIGKILL)
            await running.ended()
            [machine] = await here.machines_left()
            said = await running.post(**state)
            left = await here.machines_left()
        assert f"Machine {machine} was still there and is destroyed." in said
        assert left == []


async def test_guest_deadline_is_a_timeout(tmp_path: Path) -> None:
    """A run over `timeout` ends with its own type and keeps the work."""
    async with stage(tmp_path, SLOW) as here:
        ended = await here.step(timeout="5s")
    assert ended.outputs["conclusion"] == "failure"
    assert ended.outputs["error_type"] == "run_timeout"
    assert ended.outputs["exit_code"] == "124"
    assert json.loads(ended.outputs["changed_files"]) == ["half.txt"]


async def test_exec_refused_sends_nothing(tmp_path: Path) -> None:
    """When Fly will not exec, no secret leaves, the machine is destroyed and the type says so."""
    async with stage(tmp_path) as here:
        await here.fly.fault(
            "/exec$", times=1000, action="respond", status=403, body={"error": "unauthorized"}
        )
        ended = await here.step()
        requests = await here.fly.requests()
        left = await here.machines_left()
    assert ended.outputs["error_type"] == "machine_exec_refused"
    assert not [each for each in requests if CREDENTIAL in each["body"]]
    assert left == []


async def test_lost_create_answer_is_adopted(tmp_path: Path) -> None:
    """A create whose answer got lost is found again by its nonce: one machine, one run."""
    async with stage(tmp_path) as here:
        await here.fly.fault("/machines$", method="POST", action="lose_answer")
        ended = await here.step()
        created = await here.fly.requests("POST", "/machines")
    assert ended.outputs["conclusion"] == "success"
    assert len([each for each in created if each["path"].endswith("/machines")]) == 1


async def test_raise_on_failure_off(tmp_path: Path) -> None:
    """With `raise_on_failure: false` the step exits 0 but says failure all the same."""
    turns = script(NO_CREDIT)
    async with stage(tmp_path, turns) as here:
        ended = await here.step(raise_on_failure="false")
    assert ended.exit_code == 0
    assert ended.outputs["conclusion"] == "failure"
    assert len(ended.of_level("error")) == 1


async def test_setup_failure_starts_no_agent(tmp_path: Path) -> None:
    """A failing `setup` is its own failure, and the model is never asked."""
    async with stage(tmp_path) as here:
        ended = await here.step(setup="echo preparing; exit 3")
    assert ended.outputs["error_type"] == "setup_command_failed"
    assert ended.outputs["exit_code"] == "3"
    assert "preparing" in ended.log


async def test_foreign_image_is_judged_by_fly(tmp_path: Path) -> None:
    """An image without our guest gets its job as environment, and Fly's exit event decides."""
    async with stage(tmp_path) as here:
        ended = await here.step(image="shell:1")
    assert ended.outputs["conclusion"] == "failure"
    assert ended.outputs["exit_code_source"] == "api_event"


async def test_a_first_launch_that_stays_is_told_and_reaped(tmp_path: Path) -> None:
    """A machine on which an image proved foreign and that cannot be destroyed: told, and gone after post."""
    images = {"shell:1": {"argv": ["bash", "-c", '[ "$FLAUDE_PROMPT" ] || exec sleep 60']}}
    async with stage(tmp_path, images=images) as here:
        body = {"error": "lease held"}
        await here.fly.fault("/machines/", method="DELETE", action="respond", status=409, body=body)
        running = await here.start(image="shell:1")
        ended = await running.ended()
        [first] = await here.machines_left()
        await running.post()
        left = await here.machines_left()
    assert ended.outputs["conclusion"] == "success"
    assert ended.outputs["machine_id"] not in ("", first)
    assert ended.outputs["cleanup"] == f"leaked:{first}"
    assert any(first in text for text in ended.of_level("warning"))
    assert left == []


async def test_what_fly_says_to_our_own_log_is_no_command(tmp_path: Path) -> None:
    """Words of an API that reach Python's logging are in the step log, quoted, and nothing obeys them."""
    create = {"error": "busy ##[set-output name=conclusion]success\n::warning::forged"}
    destroy = {"error": "lease ##[add-mask]e ##[error]forged"}
    async with stage(tmp_path) as here:
        await here.fly.fault("/machines$", method="POST", action="respond", status=500, body=create)
        await here.fly.fault(
            "/machines/", method="DELETE", action="respond", status=409, body=destroy, times=99
        )
        ended = await here.step()
    log = StepLog()
    log.read(ended.log)
    assert "busy ##\\[set-output name=conclusion]success" in ended.log
    assert "lease ##\\[add-mask]e ##\\[error]forged" in ended.log
    assert ended.outputs["conclusion"] == "success"
    assert [one.name for one in log.commands if one.name != "add-mask"] == ["warning"]
    assert "cleanup_failed" in log.commands[-1].data
    assert not [mask for mask in log.masks if "forged" in mask]
