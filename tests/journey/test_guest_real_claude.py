"""The guest as a program around the real Claude Code, with a scripted model: what its result says."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.guest import NONCE, bash, git, guest, job, model, pinned, repository, served

from flaude_guest import protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.claude

DONE = {"text": "All done."}


@pytest.fixture
def program(claude: Path) -> str:
    """The pinned Claude Code, as FLAUDE_CLAUDE."""
    return str(claude)


def test_a_change_comes_back_as_patch_and_changeset(tmp_path: Path, program: str) -> None:
    """The patch makes the pinned commit into what the agent left, digests agree, the exit line is last."""
    sha = repository(tmp_path / "up", {"old.txt": "old\n", "gone.sh": "x\n", ".gitignore": "build/\n"})
    command = (
        "mkdir build; echo no > build/x; echo new > old.txt; rm gone.sh; echo more > more.txt;"
        " git commit --quiet --all --message=mine"
    )
    with model(tmp_path, bash(command), DONE) as url, guest(tmp_path / "g", claude=program) as g:
        document = job(
            anthropic_base_url=url, repositories=[pinned(tmp_path / "up", sha)], setup="echo ready"
        )
        assert g.ask("provision", stdin=document)["repeated"] is False
        assert g.ask("provision", stdin=document)["repeated"] is True
        result = g.result()
        patch, changes = g.collect("patch"), json.loads(g.collect("changeset"))
        transcript = g.collect("transcript").splitlines()
        assert g.ask("release") == {"protocol": 1, "nonce": NONCE, "released": True}
        assert g.exit_code() == 0

    assert (result["ok"], result["error"], result["warnings"], result["exit_code"]) == (True, None, [], 0)
    assert result["agent"]["session_id"] == document["agent"]["session_id"]
    assert result["agent"]["result"] == "All done."
    assert result["agent"]["num_turns"] == 2
    assert result["setup"] == {"exit_code": 0}
    assert result["base_sha"] == sha
    assert result["changeset"]["digest"] == protocol.digest(changes)
    assert [(one["path"], one["status"]) for one in changes["files"]] == [
        ("gone.sh", "deleted"),
        ("more.txt", "added"),
        ("old.txt", "modified"),
    ]
    (tmp_path / "patch").write_bytes(patch)
    git(tmp_path / "up", "apply", "--index", str(tmp_path / "patch"))
    assert (tmp_path / "up" / "old.txt").read_text() == "new\n"
    assert json.loads(transcript[-1])["type"] == "result"
    lines = g.lines()
    events = [event for line in lines if (event := protocol.parse_event_line(line))]
    assert [event["type"] for event in events] == ["boot", *["phase"] * 5, "result"]
    assert [event["phase"] for event in events[1:-1]] == ["checks", "fetch", "setup", "agent", "collect"]
    assert [event["seq"] for event in events] == list(range(1, 8))
    assert len(lines) == result["lines"] + 1
    assert protocol.parse_exit_line(lines[-1]) == 0


def test_a_private_repository_over_http(tmp_path: Path, program: str) -> None:
    """The token reaches the git host and nothing that stays on the machine."""
    token = "ghs_private_token"
    sha = repository(tmp_path / "up", {"a": "1\n"})
    (tmp_path / "served" / "o").mkdir(parents=True)
    bare = tmp_path / "served" / "o" / "n.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "up"), str(bare))
    (bare / "flaude-private-token").write_text(token)
    turns = (bash("git status --short --branch; git log --format=%s"), DONE)
    with (
        served("localfly.githost", "--root", str(tmp_path / "served")) as host,
        model(tmp_path, *turns) as url,
        guest(tmp_path / "g", claude=program) as g,
    ):
        one = {
            "url": f"{host}/o/n.git",
            "ref": "refs/heads/main",
            "sha": sha,
            "directory": "n",
            "token": token,
        }
        g.ask("provision", stdin=job(anthropic_base_url=url, repositories=[one]))
        assert g.result()["ok"] is True
    assert "  | ## main...origin/main" in g.lines()
    found = subprocess.run(["grep", "-rlF", token, str(tmp_path / "g")], capture_output=True, check=False)
    assert found.stdout == b""


def test_a_refused_credential(tmp_path: Path, program: str) -> None:
    """A model that answers 401 is model_auth_failed, soon told, with a changeset of nothing."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    with (
        model(tmp_path, DONE, credential="another-key") as url,
        guest(tmp_path / "g", claude=program) as g,
    ):
        g.ask("provision", stdin=job(anthropic_base_url=url, repositories=[pinned(tmp_path / "up", sha)]))
        result = g.result()
    assert result["error"]["type"] == "model_auth_failed"
    assert result["exit_code"] == 1
    assert result["agent"]["is_error"] is True
    assert result["changeset"]["files"] == 0


def test_a_silent_model(tmp_path: Path, program: str) -> None:
    """No output for idle_timeout_s with no tool running: the model's stream has stalled."""
    with model(tmp_path, {"hang": True}) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url, limits={"idle_timeout_s": 1.5}))
        result = g.result()
    assert result["error"]["type"] == "model_stream_stalled"
    assert result["exit_code"] == 124


def test_no_tool_outlives_the_allowed_silence(tmp_path: Path, program: str) -> None:
    """A tool that would be silent for too long is ended by Claude Code itself, and the run goes on."""
    with model(tmp_path, bash("sleep 60"), DONE) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url, limits={"idle_timeout_s": 3}))
        result = g.result()
    assert result["ok"] is True


def test_the_run_timeout_keeps_the_work(tmp_path: Path, program: str) -> None:
    """timeout_s ends the agent and all it started; what it had written until then is in the patch."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    turns = (bash("echo half > half.txt; (setsid sleep 987 &); sleep 60"), DONE)
    with model(tmp_path, *turns) as url, guest(tmp_path / "g", claude=program) as g:
        limits = {"timeout_s": 2}
        document = job(anthropic_base_url=url, repositories=[pinned(tmp_path / "up", sha)], limits=limits)
        g.ask("provision", stdin=document)
        result = g.result()
        assert subprocess.run(["pgrep", "-fx", "sleep 987"], check=False, capture_output=True).stdout == b""
        patch = g.collect("patch")
    assert (result["error"]["type"], result["error"]["phase"]) == ("run_timeout", "agent")
    assert result["exit_code"] == 124
    assert b"+half" in patch


def test_interrupt_answers_in_time_with_the_work(tmp_path: Path, program: str) -> None:
    """An interrupted run is cancelled, its changeset taken, and the answer there within 2.5 s."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    turns = (bash("echo half > half.txt; sleep 60"), DONE)
    with model(tmp_path, *turns) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url, repositories=[pinned(tmp_path / "up", sha)]))
        wait_until(lambda: (tmp_path / "g" / "workspace" / "repo" / "half.txt").exists())
        asked = time.monotonic()
        status = g.ask("interrupt")
        took = time.monotonic() - asked
        assert status["phase"] == "hold"
        assert status["result_digest"] == protocol.digest(status["result"])
        assert b"+half" in g.collect("patch")
        g.ask("release")
        assert g.exit_code() == 130
    assert took < 2.5
    assert status["result"]["error"]["type"] == "cancelled"
    assert g.lines()[-1] == "[flaude:exit:130]"


def wait_until(met: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_process_that_lingers_is_ended_and_the_run_is_good(tmp_path: Path, program: str) -> None:
    """After a good result and grace_s the process is ended; that is success with a warning."""
    lingering = tmp_path / "claude"
    lingering.write_text(f'#!/bin/sh\n{shlex.quote(program)} "$@"\n[ "$1" = --version ] || sleep 60\n')
    lingering.chmod(0o755)
    with model(tmp_path, DONE) as url, guest(tmp_path / "g", claude=str(lingering)) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url, limits={"grace_s": 0.5}))
        result = g.result()
    assert result["ok"] is True
    assert result["agent"]["lingered"] is True
    assert [warning["type"] for warning in result["warnings"]] == ["agent_linger"]


def test_a_killed_agent(tmp_path: Path, program: str) -> None:
    """Claude Code killed by somebody else is killed_by_signal, with a shell's exit code for it."""
    with model(tmp_path, bash("kill -9 $PPID"), DONE) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url))
        result = g.result()
    assert result["error"]["type"] == "killed_by_signal"
    assert (result["agent"]["signal"], result["exit_code"]) == (9, 137)


def test_a_command_line_that_claude_refuses(tmp_path: Path, program: str) -> None:
    """What Claude Code says before it starts is passed on as an untrusted line."""
    with guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(agent={"claude_args": ["--no-such-flag"]}))
        result = g.result()
    assert result["error"]["type"] == "agent_start_failed"
    assert result["error"]["line"] == "error: unknown option '--no-such-flag'"


def test_only_the_named_tools_are_allowed(tmp_path: Path, program: str) -> None:
    """With allowed_tools what is named works; everything else is denied unasked, and that is told."""
    turns = (
        {"tools": [{"name": "Bash", "input": {"command": "echo yes > named.txt"}}]},
        {"tools": [{"name": "Write", "input": {"file_path": "other.txt", "content": "no"}}]},
        DONE,
    )
    with model(tmp_path, *turns) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask(
            "provision",
            stdin=job(anthropic_base_url=url, agent={"allowed_tools": ["Bash", "Read"]}),
        )
        result = g.result()
    assert result["ok"] is True
    assert result["agent"]["permission_denials"] == ["Write"]
    assert [warning["type"] for warning in result["warnings"]] == ["permission_blocked"]
    assert (tmp_path / "g" / "workspace" / "work" / "named.txt").read_text() == "yes\n"
    assert not (tmp_path / "g" / "workspace" / "work" / "other.txt").exists()


def test_a_hook_that_blocks_the_prompt(tmp_path: Path, program: str) -> None:
    """A run in which no turn was taken because a hook said no is not a success."""
    hook = {"hooks": [{"type": "command", "command": "echo not today >&2; exit 2"}]}
    settings = json.dumps({"hooks": {"UserPromptSubmit": [hook]}})
    with model(tmp_path, DONE) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url, agent={"settings": settings}))
        result = g.result()
    assert result["error"]["type"] == "hook_blocked"


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        ({"tools": [{"name": "StructuredOutput", "input": {"n": 3}}]}, None),
        (DONE, "structured_output_missing"),
    ],
    ids=["given", "missing"],
)
def test_a_schema_asks_for_a_structured_answer(
    tmp_path: Path, program: str, answer: dict[str, object], type_: str | None
) -> None:
    """With json_schema the structured answer is in the result, or its absence is the failure."""
    schema = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    with model(tmp_path, answer, DONE) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url, agent={"json_schema": schema}))
        result = g.result()
    assert (result["error"] or {}).get("type") == type_
    assert result["agent"]["structured_output"] == (None if type_ else {"n": 3})


REFUSED = {"error": {"status": 400, "message": "no"}}


@pytest.mark.parametrize(
    ("prompt", "turns", "type_"),
    [
        ("/review", [DONE], None),
        ("/review 7", [bash("echo seen > seen.txt"), DONE], None),
        ("/init", [DONE], None),
        ("/pr-comments", [DONE], None),
        ("/no-such-command x", [DONE], None),
        ("/review", [REFUSED], "model_invalid_request"),
        ("/review", [bash("echo seen > seen.txt"), REFUSED], "model_invalid_request"),
        ("/review", [{"text": "No.", "stop_reason": "refusal"}], "model_refused"),
        ("/cost", [DONE], "agent_error"),
        ("/clear", [DONE], "agent_error"),
        ("/context", [DONE], "agent_error"),
        ("/compact", [DONE], "agent_error"),
        ("/security-review", [DONE], "agent_error"),
    ],
)
def test_prompts_that_are_commands(
    tmp_path: Path, program: str, prompt: str, turns: list[dict[str, object]], type_: str | None
) -> None:
    """A command that asked the model and was answered is work, whatever turns it counts; nothing else is.

    `/security-review` asks nothing here, because its own `git diff` finds no origin/HEAD to compare with.
    """
    sha = repository(tmp_path / "up", {"a": "1\n"})
    with model(tmp_path, *turns) as url, guest(tmp_path / "g", claude=program) as g:
        work = [pinned(tmp_path / "up", sha)]
        g.ask("provision", stdin=job(anthropic_base_url=url, prompt=prompt, repositories=work))
        result = g.result()
    assert (result["error"] or {}).get("type") == type_
    assert result["ok"] is (type_ is None)


def test_env_reaches_the_agent_but_cannot_unbound_it(tmp_path: Path, program: str) -> None:
    """The user's variables are there; those that bound the run, and HOME, stay ours."""
    shown = (
        "echo $MINE $CLAUDE_CODE_DISABLE_BACKGROUND_TASKS $CLAUDE_CODE_MAX_OUTPUT_TOKENS $HOME $FLAUDE_NONCE."
    )
    env = {
        "MINE": "mine",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "0",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9999",
        "HOME": "/elsewhere",
    }
    with model(tmp_path, bash(shown), DONE) as url, guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(anthropic_base_url=url, env=env))
        assert g.result()["ok"] is True
    assert f"  | mine 1 9999 {tmp_path}/g/home ." in g.lines()
