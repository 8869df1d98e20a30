"""Claude Code on the machine: its command line, its environment, and one supervised run of it.

What lies in the repository, or what its code wrote into the agent's home in `setup`, configures Claude Code
only where the job says so.

The verdict on what it printed is `judgement`'s; killing what it leaves behind is the journey's.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flaude_guest import clock
from flaude_guest.conversation import Conversation
from flaude_guest.events import parse
from flaude_guest.judgement import LINGER, REFUSED
from flaude_guest.protocol import configuring_variables
from flaude_guest.rendering import render
from flaude_guest.stream import EVENT_MAX_BYTES, TEXT_LINE_MAX_BYTES, Lines, Transcript

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.job import AgentOptions, Job
    from flaude_guest.output import Output
    from flaude_guest.places import Places
    from flaude_guest.processes import Ended, Processes, Watch

BYTE_WATCHDOG_MIN_S = 10
"""Claude Code takes no shorter limit for a silent model stream."""
CREDENTIAL_REFUSALS_MAX = 3
"""Claude Code gives up on a refused OAuth token after two retries, on an API key after three minutes."""

# With them nothing of the repository or of the home is loaded.
_ISOLATION = ("--setting-sources=", "--strict-mcp-config")
# A user who writes one of these in claude_args has decided about permissions; ours would override it.
_PERMISSION_FLAGS = (
    "--dangerously-skip-permissions", "--permission-mode", "--permission-prompts",
    "--allowedTools", "--allowed-tools", "--tools",
)  # fmt: skip


def command(claude: str, agent: AgentOptions) -> list[str]:
    """The command line. Ours comes last, because of two equal options Claude Code takes the later one."""
    # The user's last argument may lack its value and would take our next one for it: one that may be lost.
    argv = [claude, *agent.claude_args, "--verbose", *(() if agent.project_settings else _ISOLATION)]
    for flag, value in (
        ("--model", agent.model),
        ("--max-turns", agent.max_turns),
        ("--max-budget-usd", agent.max_budget_usd),
        ("--settings", agent.settings),
        ("--append-system-prompt", agent.append_system_prompt),
        ("--json-schema", agent.json_schema),
    ):
        if value not in (None, ""):
            argv.append("%s=%s" % (flag, value))
    argv += _permissions(agent)
    return [*argv, "--session-id=" + agent.session_id, "-p", "--output-format=stream-json"]


def _permissions(agent: AgentOptions) -> list[str]:
    """Everything is allowed on a machine made for this one job, unless the user named what is.

    Nobody can answer a question here, so with a list everything else is denied without asking.
    """
    if agent.allowed_tools:
        return ["--permission-mode=dontAsk", "--allowedTools", *agent.allowed_tools]
    if any(arg.split("=")[0] in _PERMISSION_FLAGS for arg in agent.claude_args):
        return []
    return ["--dangerously-skip-permissions"]


def base_environment(places: Places, job: Job) -> dict[str, str]:
    """Environment of `setup`, and ground of the agent's: the image's own, the user's, and who we are."""
    home = str(places.agent.home)
    defaults = {"LANG": "C.UTF-8", "TERM": "dumb", "CI": "true"}
    ours = {"HOME": home, "SHELL": _shell(), "GIT_TERMINAL_PROMPT": "0"}
    if places.agent.name:
        ours.update(USER=places.agent.name, LOGNAME=places.agent.name)
    return {**defaults, **places.image_env, **job.env, **ours}


def environment(places: Places, job: Job) -> dict[str, str]:
    """Claude Code's environment. What bounds the run, and the credential, cannot be overridden by `env`."""
    idle_s = job.limits.idle_timeout_s
    tool_ms = _ms(max(1.0, idle_s - max(1.0, min(30.0, idle_s / 10))))
    stream_ms = _ms(max(BYTE_WATCHDOG_MIN_S, min(120.0, idle_s / 3)))
    defaults = {"CLAUDE_CODE_MAX_RETRIES": "10"}
    ours = {
        # A background task keeps the process alive for minutes after its result.
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        # A stream that stalls is noticed by nothing else than the byte watchdog.
        "CLAUDE_ENABLE_BYTE_WATCHDOG": "1",
        "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": stream_ms,
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": stream_ms,
        "API_TIMEOUT_MS": _ms(min(600.0, max(1.0, idle_s / 2))),
        # Tools print nothing while they run, so none may run longer than silence is allowed.
        "BASH_DEFAULT_TIMEOUT_MS": str(min(120_000, int(tool_ms))),
        "BASH_MAX_TIMEOUT_MS": tool_ms,
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # No settings' `env` sends the credential to another address. Undocumented: a test pins it.
        "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
        # `@/etc/passwd` in a prompt stays what it is. Undocumented too. CLAUDE_CODE_DISABLE_ATTACHMENTS does
        # it as well, but takes from the model its working folder and the names of its web and MCP tools too.
        "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
    }
    if places.agent.uid is None:
        ours["IS_SANDBOX"] = "1"  # the machine is the sandbox; without it root may not skip permissions
    ground = base_environment(places, job)
    if not job.agent.project_settings:
        ground = {name: ground[name] for name in ground.keys() - set(configuring_variables(ground))}
        ours["CLAUDE_CONFIG_DIR"] = str(places.claude_config)
    return {**defaults, **ground, **ours, **job.credentials}


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))


@dataclass(frozen=True)
class AgentRun:
    """One run of Claude Code: how it ended, what it said, and the first line of its stderr."""

    ended: Ended
    said: Conversation
    stderr: str


class Agent:
    """Runs Claude Code once, showing and keeping what it prints."""

    def __init__(self, processes: Processes, places: Places, job: Job, output: Output) -> None:
        self._processes = processes
        self._places = places
        self._job = job
        self._output = output
        self._said = Conversation(secrecy=output.secrecy)
        self._stderr = ""
        self._heard_at = math.inf

    def run(self, cwd: Path, transcript: Transcript, watch: Watch) -> AgentRun:
        """Run to the end, or to the first of: `watch`'s reason, silence, lingering after the result."""
        events = Lines(self._event, EVENT_MAX_BYTES)
        errors = Lines(self._error, TEXT_LINE_MAX_BYTES, whole=True)

        def out(data: bytes) -> None:
            transcript.write(data)
            events.feed(data)
            self._heard_at = time.monotonic()  # a log that took its time is not the agent's silence

        self._heard_at = time.monotonic()
        ended = self._processes.run(
            command(self._places.claude, self._job.agent),
            who=self._places.agent,
            cwd=cwd,
            env=environment(self._places, self._job),
            stdin=self._job.prompt.encode("utf-8"),
            out=out,
            err=errors.feed,
            watch=lambda: watch() or self._overdue(),
        )
        events.finish()
        errors.finish()
        return AgentRun(ended, self._said, self._stderr)

    def _overdue(self) -> str:
        limits = self._job.limits
        if self._said.result_at is not None:
            return LINGER if clock.now() - self._said.result_at > limits.grace_s else ""
        if self._said.credential_refusals >= CREDENTIAL_REFUSALS_MAX:
            return REFUSED
        if time.monotonic() - self._heard_at <= limits.idle_timeout_s:
            return ""
        self._said.fell_silent()
        return "silence"

    def _event(self, line: bytes, lost: int) -> None:
        if lost:
            self._output.say("an event of %d bytes is too large to read" % (len(line) + lost))
            return
        event = parse(line)
        if event is None:
            self._output.pass_on(line.decode("utf-8", "replace"))
            return
        self._said.note(event, clock.now())
        for text in render(event, full=self._job.show_full_output, secrecy=self._output.secrecy):
            self._output.pass_on(text)

    def _error(self, line: bytes, lost: int) -> None:
        text = line.decode("utf-8", "replace")
        if text.strip():
            self._stderr = self._stderr or self._output.secrecy.cut(text, 500)
            self._output.pass_on("claude: " + text)


def setup_command(text: str) -> list[str]:
    """The user's `setup`: the first failing command ends it."""
    shell = _shell()
    return [shell, "-eo", "pipefail", "-c", text] if shell.endswith("bash") else [shell, "-ec", text]


def _shell() -> str:
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
