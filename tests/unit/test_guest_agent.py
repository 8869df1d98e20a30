"""Claude Code's command line and environment."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.guest import NONCE, job
from tests.support.guest import agent as standin

from flaude_guest import agent, events
from flaude_guest.job_document import read
from flaude_guest.judgement import judge
from flaude_guest.output import Output
from flaude_guest.places import Places, image_environment
from flaude_guest.processes import Processes
from flaude_guest.record import Wake
from flaude_guest.stream import Transcript

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.job import Job

PLACES = Places.of({"FLAUDE_HOME": "/private/home", "PATH": "/tools"}, isolated=False)


def taken(**changes: Any) -> Job:
    return read(job(**changes), NONCE)


def command(**options: Any) -> list[str]:
    return agent.command("claude", taken(agent=options).agent)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_after_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """A good result that came before we ended the process stays one, however the clock is set."""
    program = standin(tmp_path, "say init; say result; sleep 60")
    places = replace(PLACES, claude=program, image_env={"PATH": os.environ["PATH"]})
    transcript = Transcript(tmp_path / "transcript")
    runner = agent.Agent(
        Processes(Wake()), places, taken(limits={"grace_s": 60}), Output(os.open(os.devnull, os.O_WRONLY))
    )
    wall, began = time.time, time.monotonic()

    def watch() -> str:
        if time.monotonic() - began < 1.0:
            return ""
        monkeypatch.setattr(time, "time", lambda: wall() + step_s)
        return "timeout"

    run = runner.run(tmp_path, transcript, watch)
    transcript.close()
    assert run.ended.cut == "timeout"
    judged = judge(run.said, run.ended)
    assert (judged.type, [type_ for type_, _ in judged.warnings]) == ("", ["agent_linger"])


def test_the_plain_command_line() -> None:
    """Without wishes everything is allowed, nothing configures the run, and our own flags come last."""
    session = "01234567-89ab-cdef-0123-456789abcdef"
    assert command(session_id=session) == [
        "claude",
        "--verbose",
        "--setting-sources=",
        "--strict-mcp-config",
        "--dangerously-skip-permissions",
        f"--session-id={session}",
        "-p",
        "--output-format=stream-json",
    ]


def test_project_settings_are_loaded_where_the_job_says_so() -> None:
    """Then Claude Code reads its own folders, in the home too; the address of the model stays the job's."""
    loaded = taken(agent={"project_settings": True}, env={"BUN_OPTIONS": "--smol"})
    argv = agent.command("claude", loaded.agent)
    assert not [word for word in argv if word.startswith(("--setting-sources", "--strict-mcp-config"))]
    env = agent.environment(PLACES, loaded)
    assert "CLAUDE_CONFIG_DIR" not in env
    assert env["BUN_OPTIONS"] == "--smol"
    assert env["CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST"] == "1"


CONFIGURING = (
    "ANTHROPIC_CONFIG_DIR", "ANTHROPIC_PROFILE", "BUN_OPTIONS", "BUN_INSPECT_PRELOAD", "CLAUDE_CODE_SHELL",
    "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "CLAUDE_CODE_PLUGIN_CACHE_DIR", "CLAUDE_CODE_PLUGIN_DIRS",
    "CLAUDE_CODE_PLUGIN_SEED_DIR", "CLAUDE_CODE_REMOTE_MEMORY_DIR", "CLAUDE_CODE_SHELL_PREFIX",
    "CLAUDE_CONFIG_DIR", "CLAUDE_COWORK_MEMORY_PATH_OVERRIDE", "CLAUDE_ENV_FILE",
    "CLAUDE_SECURESTORAGE_CONFIG_DIR", "CLAUDE_SESSION_INGRESS_TOKEN_FILE",
)  # fmt: skip


@pytest.mark.parametrize("name", CONFIGURING)
def test_variables_that_name_files_to_load(name: str) -> None:
    """Neither the user's nor the image's reach an isolated Claude Code; `setup` keeps them."""
    image = replace(PLACES, image_env={"PATH": "/tools", name: "/image"})
    for places, job_env in ((image, {}), (PLACES, {name: "./here"})):
        given = taken(env=job_env)
        assert agent.environment(places, given).get(name) in (None, str(PLACES.claude_config))
        assert agent.base_environment(places, given)[name] in ("/image", "./here")


@pytest.mark.parametrize("args", [[], ["--effort"], ["--add-dir"], ["--model"], ["--agent"]])
def test_no_argument_takes_the_isolation_for_its_value(args: list[str]) -> None:
    """The user's last argument may lack its value; what it takes instead can be missed."""
    argv = command(claude_args=args, model="opus")
    assert argv[1 + len(args)] == "--verbose"
    assert argv[2 + len(args) : 4 + len(args)] == ["--setting-sources=", "--strict-mcp-config"]


def test_wishes_become_flags() -> None:
    """Each option is one word with its value, so that no value can be read as a flag."""
    argv = command(
        model="opus",
        max_turns=3,
        max_budget_usd=0.5,
        settings="{}",
        append_system_prompt="-x",
        json_schema='{"a":1}',
    )
    for word in ("--model=opus", "--max-turns=3", "--max-budget-usd=0.5", "--settings={}",
                 "--append-system-prompt=-x", '--json-schema={"a":1}'):  # fmt: skip
        assert word in argv


def test_named_tools_are_the_only_ones() -> None:
    """With a list nothing is skipped: what is not on it is denied."""
    argv = command(allowed_tools=["Bash(npm test)", "Edit"])
    at = argv.index("--allowedTools")
    assert argv[at - 1 : at + 3] == ["--permission-mode=dontAsk", "--allowedTools", "Bash(npm test)", "Edit"]
    assert "--dangerously-skip-permissions" not in argv


@pytest.mark.parametrize(
    "args", [["--permission-mode", "plan"], ["--allowedTools=Bash"], ["--tools", "Bash"]]
)
def test_the_users_own_permissions_stand(args: list[str]) -> None:
    """Who sets permissions in claude_args gets them."""
    argv = command(claude_args=args)
    assert argv[1 : 1 + len(args)] == args
    assert "--dangerously-skip-permissions" not in argv


def test_the_environment_is_built_from_nothing() -> None:
    """Of the machine only the image's variables, of the user's only those that are not ours."""
    env = agent.environment(PLACES, taken(env={"MINE": "1", "HOME": "/x", "DISABLE_AUTOUPDATER": "0",
                                               "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "0",
                                               "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "",
                                               "CLAUDE_CODE_MAX_RETRIES": "2", "PATH": "/mine"}))  # fmt: skip
    assert env["MINE"] == "1"
    assert env["HOME"] == "/private/home"
    assert env["PATH"] == "/mine"
    assert env["DISABLE_AUTOUPDATER"] == "1"
    assert env["CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST"] == env["CLAUDE_CODE_DISABLE_FILE_MENTIONS"] == "1"
    assert env["CLAUDE_CODE_MAX_RETRIES"] == "2"
    assert env["ANTHROPIC_API_KEY"] == "test-api-key"
    assert not [name for name in env if name.startswith("FLAUDE")]


def test_setup_gets_no_credential() -> None:
    """The credential is in Claude Code's environment alone."""
    assert "test-api-key" not in agent.base_environment(PLACES, taken()).values()


@pytest.mark.parametrize("idle_s", [1, 10, 60, 600, 7200])
def test_no_limit_inside_is_longer_than_the_silence_allowed(idle_s: int) -> None:
    """A tool, a request and a stalled stream all end before we would take the silence for death."""
    env = agent.environment(PLACES, taken(limits={"idle_timeout_s": idle_s}))
    assert int(env["BASH_DEFAULT_TIMEOUT_MS"]) <= int(env["BASH_MAX_TIMEOUT_MS"]) <= idle_s * 1000
    assert int(env["API_TIMEOUT_MS"]) <= max(1, idle_s) * 1000
    assert int(env["CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS"]) <= max(10, idle_s) * 1000


def test_the_images_environment_is_what_the_build_wrote_down(tmp_path: Path) -> None:
    """Tools of the base image find their variables, whatever is in the values."""
    recorded = tmp_path / "image.env"
    recorded.write_bytes(b"PATH=/jdk/bin\0JAVA_HOME=/jdk\0EMPTY=\0A=b=c\n\0B=\xff\0")
    assert image_environment(recorded) == {
        "PATH": "/jdk/bin",
        "JAVA_HOME": "/jdk",
        "EMPTY": "",
        "A": "b=c\n",
        "B": "\udcff",
    }


@pytest.mark.parametrize("line", [b"", b"[]", b"7", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_event(line: bytes) -> None:
    """Anything but a JSON object is text."""
    assert events.parse(line) is None
