"""What a step hands on: the change, and never a credential with it."""

from __future__ import annotations

import base64
import json
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.corpus import ALWAYS
from tests.support.side_by_side import side_by_side
from tests.support.step import CREDENTIAL, bash, script, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.step import Ended

pytestmark = pytest.mark.claude

IN_BASE64 = base64.b64encode(f"key={CREDENTIAL}\n".encode()).decode()
WEBHOOK = "https://hooks.slack" + ".com/services/T0/B0/xyzw4Kq9PzL2"
KUBE_TOKEN = "eyJhbGciOiJSUzI1NiIs" + "InR5cCI6IkpXVCJ9.c2ln"
ENV = {
    "DEPLOY_TOKEN": "hunter2hunter2",
    "DEPLOY_PASSWORD": "CorrectHorseBatteryStaple",
    "OTHER_PASSWORD": "correct horse battery staple!",
    "SLACK_WEBHOOK_URL": WEBHOOK,
    "KUBE_CREDENTIALS": f"apiVersion: v1\nserver: https://10.0.0.1\nuser:\n  token: {KUBE_TOKEN}\n",
    "DB_CONN": "Server=db;Pwd=hunter3hunter3",
}
NPM_TOKEN = "npm_" + "a1B2c3D4e5F6" * 3
WRITES = {
    "as it is": (f"echo key={CREDENTIAL} > conf.env", "`conf.env`"),
    "in base64": (f"echo {IN_BASE64} > conf.env", "`conf.env`"),
    "wrapped over lines": (f"echo {CREDENTIAL} | fold -w 20 > conf.env", "`conf.env`"),
    "in a binary file": (f"printf '\\0\\1{CREDENTIAL}\\0' > conf.bin", "`conf.bin`"),
    "in a file's name": (f"touch {CREDENTIAL}.txt", "`***`"),
    "in a link": (f"ln -s {CREDENTIAL} conf.link", "`conf.link`"),
    "in a value of env": ("echo hunter2hunter2 > conf.env", "`conf.env`"),
    "in letters": ("echo CorrectHorseBatteryStaple > conf.env", "`conf.env`"),
    "in words": ("echo 'correct horse battery staple!' > conf.env", "`conf.env`"),
    "in a webhook": (f"echo curl {WEBHOOK} > conf.sh", "`conf.sh`"),
    "in a kubeconfig": (f"echo export TOKEN={KUBE_TOKEN} > conf.sh", "`conf.sh`"),
    "in a connection": ("echo hunter3hunter3 > conf.env", "`conf.env`"),
    "in settings": (f"echo //registry/:_authToken={NPM_TOKEN} > npmrc", "`npmrc`"),
}


def everything(ended: Ended) -> str:
    """All that the step has written anywhere."""
    files = [path for path in (ended.workspace / ".flaude").rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in files]
    log = [line for line in ended.log.splitlines() if not line.startswith("::add-mask::")]
    return "\n".join([*log, ended.summary, *ended.outputs.values(), *texts])


async def test_no_credential_is_handed_on(tmp_path: Path) -> None:
    """The agent writes its credential into a file: red, the file is named, and the patch is not there."""
    cases = {name: partial(_withheld, writes=writes, named=named) for name, (writes, named) in WRITES.items()}
    await side_by_side(tmp_path, cases)


async def _withheld(folder: Path, writes: str, named: str) -> None:
    turns = script(bash(f"echo fixed > answer.txt; {writes}"), "Done.")
    async with stage(folder, turns) as here:
        ended = await here.step(env=json.dumps(ENV), settings=json.dumps({"env": {"NPM_TOKEN": NPM_TOKEN}}))
        left = await here.machines_left()
    assert ended.exit_code == 1
    told = ended.outputs
    assert (told["conclusion"], told["error_type"], told["retryable"]) == (
        "failure",
        "secret_in_changes",
        "user",
    )
    assert named in told["error_message"]
    assert told["patch_file"] == ""
    assert "answer.txt" in json.loads(told["changed_files"])
    assert told["result"] == "Done."
    assert (
        json.loads((ended.workspace / told["report_file"]).read_text())["error_type"] == "secret_in_changes"
    )
    assert not list((ended.workspace / ".flaude").rglob("*.patch"))
    for secret in (CREDENTIAL, CREDENTIAL[13:], IN_BASE64[:40]):
        assert secret not in everything(ended)
    assert left == []


async def test_a_failed_run_hands_on_no_credential_either(tmp_path: Path) -> None:
    """The run stays the failure it was; why there is no patch is told beside it."""
    turns = script(bash(f"echo {CREDENTIAL} > conf.env"), "And on.")
    async with stage(tmp_path, turns) as here:
        ended = await here.step(max_turns="1")
    assert (ended.outputs["error_type"], ended.outputs["patch_file"]) == ("max_turns_reached", "")
    assert [
        text for text in ended.of_level("warning") if "secret_in_changes" in text and "`conf.env`" in text
    ]
    assert CREDENTIAL not in everything(ended)


async def test_a_setting_in_env_is_no_credential(tmp_path: Path) -> None:
    """What `env` gives may be hidden in the log because it could be a secret: in a file it proves nothing."""
    env = {"AWS_REGION": "us-east-1", "PYTHON_VERSION": "3.11-slim", "PASSWORD": "postgres"}
    env["KEYCLOAK_URL"] = "http://localhost:8080"
    env |= {"TOKENIZER_MODEL": "cl100k_base", "PROXY_BYPASS": "127.0.0.1,localhost"}
    env |= {"CACHE_KEY": "deps-v1-linux", "SSH_KEY_PATH": "/home/me/.ssh/id_ed25519"}
    turns = script(bash(f"echo {' '.join(env.values())} > main.tf"), "Done.")
    async with stage(tmp_path, turns) as here:
        ended = await here.step(env=json.dumps(env))
    assert (ended.outputs["conclusion"], ended.outputs["error_type"]) == ("success", "")
    assert "+us-east-1 3.11-slim" in (ended.workspace / ended.outputs["patch_file"]).read_text()


async def test_what_stood_beside_an_edit_is_no_credential_in_the_change(tmp_path: Path) -> None:
    """A line that the agent left as it was is in the repository already, and the work arrives."""
    turns = script(bash("echo 'DEBUG: 1' >> compose.yml"), "Done.")
    password = "POSTGRES_PASSWORD: postgres1\n"
    async with stage(tmp_path, turns, files={"compose.yml": password}) as here:
        ended = await here.step(env=password)
    assert (ended.outputs["conclusion"], ended.outputs["error_type"]) == ("success", "")
    assert "+DEBUG" in (ended.workspace / ended.outputs["patch_file"]).read_text()


async def test_a_cancel_after_a_good_result_hands_on_no_credential(tmp_path: Path) -> None:
    """The result came before the stop, so it counts: and so does what stands in the change."""
    turns = script(bash(f"echo {CREDENTIAL} > conf.env"), "Done.")
    async with stage(tmp_path, turns) as here:
        await here.fly.fault("/exec$", asks='"collect"', action="delay", seconds=1.5)
        running = await here.start()
        await running.until("The result is ready")
        running.signal(signal.SIGINT)
        ended = await running.ended()
    assert (ended.outputs["conclusion"], ended.outputs["patch_file"]) == ("failure", "")
    assert ended.outputs["error_type"] == "secret_in_changes"
    assert CREDENTIAL not in everything(ended)


async def test_a_cancel_is_heard_while_a_large_change_is_searched(tmp_path: Path) -> None:
    """What packs well takes long to search: all outputs are set in time, and nothing unsearched is there."""
    write = "import os; open('large', 'wb').write(os.urandom(8192) * 10_000)"
    turns = script(bash(f'python3 -c "{write}"'), "Done.")
    async with stage(tmp_path, turns) as here:
        running = await here.start(timeout="300s", memory_mb="4096")
        await running.until("The result is ready")
        running.signal(signal.SIGINT)
        began = time.monotonic()
        ended = await running.ended()
        left = await here.machines_left()
    assert time.monotonic() - began < 9
    assert ended.outputs["conclusion"]
    assert ended.outputs["patch_file"] == "" or ended.outputs["conclusion"] == "success"
    assert ended.outputs["report_file"]
    assert left == []


def spoilt(name: str) -> dict[str, Any]:
    """Every answer that has a part of this file has it wrong."""
    find = rf'(name\\": \\"{name}\\".*?data\\": \\")....'
    return {"path": "/exec$", "asks": f'"{name}"', "action": "alter", "find": find, "put": r"\1AAAA"}


async def test_what_comes_whole_is_kept(tmp_path: Path) -> None:
    """Lost work makes the step red, whichever part of it is lost; what changed is known in any case."""
    parts = "changeset", "patch", "transcript"
    await side_by_side(tmp_path, {lost: partial(_all_but_one, lost=lost) for lost in parts})


async def _all_but_one(folder: Path, lost: str) -> None:
    async with stage(folder) as here:
        await here.fly.fault(**spoilt(lost), times=ALWAYS)
        ended = await here.step()
        left = await here.machines_left()
    told = ended.outputs
    failed = lost != "transcript"
    assert (told["conclusion"], told["error_type"]) == (
        ("failure", "collect_failed") if failed else ("success", "")
    )
    assert json.loads(told["changed_files"]) == ["answer.txt"]
    assert bool(told["patch_file"]) == (lost != "patch")
    assert bool(told["execution_file"]) == (lost != "transcript")
    if told["patch_file"]:
        assert "+fixed" in (ended.workspace / told["patch_file"]).read_text()
    said = f"The file '{lost}' could not be fetched whole."
    assert (said in told["error_message"]) == failed
    assert said in json.dumps(json.loads((ended.workspace / told["report_file"]).read_text()))
    assert left == []


async def test_a_cancel_keeps_a_patch_whose_list_is_lost(tmp_path: Path) -> None:
    """There is little time then, and the patch is worth more than the list of what it changes."""
    turns = script(bash("echo half > half.txt"), bash("sleep 30"), "Too late.")
    async with stage(tmp_path, turns) as here:
        await here.fly.fault(**spoilt("changeset"), times=ALWAYS)
        running = await here.start()
        await running.until("> Bash: sleep")
        running.signal(signal.SIGINT)
        ended = await running.ended()
        left = await here.machines_left()
    assert (ended.outputs["conclusion"], ended.exit_code) == ("cancelled", 130)
    assert "+half" in (ended.workspace / ended.outputs["patch_file"]).read_text()
    assert json.loads(ended.outputs["changed_files"]) == ["half.txt"]
    assert left == []


async def test_a_foreign_image_is_not_waited_for_once_fly_has_spoken(tmp_path: Path) -> None:
    """Its exit is known from Fly, so the last line that does not come is missed for seconds, not for 20."""
    images = {"foreign:1": {"argv": ["sh", "-c", '[ "$FLAUDE_PROMPT" ] || exec sleep 60; echo work']}}
    async with stage(tmp_path, images=images, platform_lines=False) as here:
        ended = await here.step(image="foreign:1")
        asked = await here.fly.requests("DELETE")
    told = ended.outputs
    assert (told["conclusion"], told["exit_code_source"], told["log_complete"]) == (
        "success",
        "api_event",
        "false",
    )
    assert [text for text in ended.of_level("warning") if "log_stream_lost" in text]
    assert json.loads(told["phase_seconds"])["logs"] < 12
    assert asked
