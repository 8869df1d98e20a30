"""What the guest shortens holds no part of the job's secrets: neither its log nor its result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.guest import RESULT, agent, guest, job

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-ant-" + "5ecretK" * 6
VALUE = "env-" + "5ecretV" * 6
HALF = "5ecret"


def tool(command: str) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": command}}
    return {"type": "assistant", "message": {"model": "m", "content": [use]}}


def api_error(text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"type": "assistant", "error": "unknown", "message": {"model": "<synthetic>", "content": content}}


FAILED = {**RESULT, "is_error": True, "terminal_reason": "api_error"}


@pytest.mark.parametrize("secret", [KEY, VALUE], ids=["key", "env"])
@pytest.mark.parametrize(
    "told",
    [
        lambda secret: [tool("x" * 180 + secret), RESULT],
        lambda secret: [api_error("x" * 480 + secret), FAILED],
        lambda secret: [{**FAILED, "result": "x" * 480 + secret}],
        lambda secret: [{**FAILED, "subtype": "error_max_turns", "errors": ["x" * 480 + secret]}],
        lambda secret: [{**RESULT, "result": "x" * (64 * 1024 - 20) + secret}],
        lambda secret: [{**RESULT, "stop_reason": "refusal", "result": "x" * 1980 + secret}],
        lambda secret: [{**RESULT, "permission_denials": [{"tool_name": "x" * 80 + secret}]}],
    ],
    ids=["tool", "api error", "result", "errors", "long result", "line", "denied"],
)  # fmt: skip
def test_events_that_are_shortened(tmp_path: Path, told: Any, secret: str) -> None:
    """A secret across the place where a text of the stream is cut is hidden whole."""
    (tmp_path / "told").write_text("".join(json.dumps(event) + "\n" for event in told(secret)))
    hears(tmp_path, "say init; say told")


@pytest.mark.parametrize("secret", [KEY, VALUE], ids=["key", "env"])
def test_stderr_that_is_shortened(tmp_path: Path, secret: str) -> None:
    """The same for the first line of Claude Code's stderr."""
    (tmp_path / "told").write_text("x" * 480 + secret + "\n")
    hears(tmp_path, "say told >&2; exit 1")


def hears(folder: Path, script: str) -> None:
    """Claude Code's stand-in runs this script; nothing of a secret comes out of the guest."""
    env = {"NAME": VALUE, "OTHER": "plain"}
    with guest(folder / "g", claude=agent(folder, script)) as g:
        g.ask("provision", stdin=job(env=env, masked_env=["NAME"], credentials={"anthropic_api_key": KEY}))
        result = g.result()
    assert HALF not in json.dumps(result)
    assert HALF not in "\n".join(g.lines())
    assert "***" in json.dumps(result) + "\n".join(g.lines())
