"""What a step hands on: the change, and never a credential with it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.step import CREDENTIAL, bash, script, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.step import Ended

pytestmark = pytest.mark.claude

IN_BASE64 = base64.b64encode(f"key={CREDENTIAL}\n".encode()).decode()
WRITES = {
    "as it is": (f"echo key={CREDENTIAL} > conf.env", "`conf.env`"),
    "in base64": (f"echo {IN_BASE64} > conf.env", "`conf.env`"),
    "wrapped over lines": (f"echo {CREDENTIAL} | fold -w 20 > conf.env", "`conf.env`"),
    "in a binary file": (f"printf '\\0\\1{CREDENTIAL}\\0' > conf.bin", "`conf.bin`"),
    "in a file's name": (f"touch {CREDENTIAL}.txt", "`***`"),
    "in a link": (f"ln -s {CREDENTIAL} conf.link", "`conf.link`"),
    "in a value of env": ("echo hunter2hunter2 > conf.env", "`conf.env`"),
}


def everything(ended: Ended) -> str:
    """All that the step has written anywhere."""
    files = [path for path in (ended.workspace / ".flaude").rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in files]
    log = [line for line in ended.log.splitlines() if not line.startswith("::add-mask::")]
    return "\n".join([*log, ended.summary, *ended.outputs.values(), *texts])


@pytest.mark.parametrize(("writes", "named"), WRITES.values(), ids=WRITES)
async def test_no_credential_is_handed_on(tmp_path: Path, writes: str, named: str) -> None:
    """The agent writes its credential into a file: red, the file is named, and the patch is not there."""
    turns = script(bash(f"echo fixed > answer.txt; {writes}"), "Done.")
    async with stage(tmp_path, turns) as here:
        ended = await here.step(env="DEPLOY_TOKEN: hunter2hunter2")
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
