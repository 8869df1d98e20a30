"""A guest as a program: the real supervisor without isolation in a private folder, driven by the real verbs.

The model and the git host it talks to are localfly's scripted servers, or nothing.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaude_guest import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("FLAUDE_TEST_GUEST_PYTHON") or sys.executable
"""The guest must run on Python 3.9; set this to try another one."""
NONCE = "0123456789abcdef"
Json = dict[str, Any]


def job(**changes: Any) -> Json:
    """A job document with nothing in it but a prompt; `agent` and `limits` are merged, the rest replaced."""
    document: Json = {
        "protocol": 1,
        "nonce": NONCE,
        "prompt": "Do the work.",
        "credentials": {"anthropic_api_key": "test-api-key", "claude_code_oauth_token": None},
        "anthropic_base_url": None,
        "repositories": [],
        "setup": None,
        "agent": {"session_id": str(uuid.uuid4()), "claude_args": [], "allowed_tools": []},
        "env": {},
        "limits": {"timeout_s": 60, "idle_timeout_s": 60, "hold_s": 30, "grace_s": 10},
        "show_full_output": False,
    }
    for name, value in changes.items():
        document[name] = {**document[name], **value} if name in ("agent", "limits") else value
    return document


INIT = {"type": "system", "subtype": "init", "model": "m", "claude_code_version": "0"}
RESULT = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "terminal_reason": "completed",
    "num_turns": 1,
    "result": "done",
}


def agent(folder: Path, script: str) -> str:
    """A program in Claude Code's place: fit at `--version`, else the shell script; `say` prints its file."""
    for name, event in (("init", INIT), ("result", RESULT)):
        (folder / name).write_text(json.dumps(event) + "\n")
    program = folder / "agent"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exit 0\nsay() {{ cat "{folder}/$1"; }}\n{script}\n'
    )
    program.chmod(0o755)
    return str(program)


def good(folder: Path) -> str:
    """One that says at once that all is done."""
    return agent(folder, "say init; say result")


@dataclass
class Guest:
    """A running supervisor. `lines()` is what it has printed so far."""

    process: subprocess.Popen[bytes]
    command: list[str]
    root: Path
    environ: dict[str, str]
    log: Path

    def verb(self, *args: str, stdin: Json | None = None) -> tuple[int, Json]:
        """(exit code, document) of one `flaude-guest` call."""
        done = subprocess.run(
            [*self.command, *args],
            input=json.dumps(stdin).encode() if stdin is not None else b"",
            env=self.environ,
            cwd=self.root,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == b"", done.stderr.decode()
        return done.returncode, json.loads(done.stdout)

    def ask(self, *args: str, stdin: Json | None = None) -> Json:
        code, document = self.verb(*args, stdin=stdin)
        assert code == 0, document
        return document

    def result(self, within_s: float = 60) -> Json:
        """The result, as soon as there is one; a large one is a file."""
        status = self.wait_for(lambda status: status["result_bytes"] > 0, within_s)
        if status["result"] is not None:
            return status["result"]
        result: Json = json.loads(self.collect("result"))
        assert protocol.digest(result) == status["result_digest"]
        return result

    def phase(self, name: str, within_s: float = 60) -> Json:
        """The status once the guest is in phase `name`."""
        return self.wait_for(lambda status: status["phase"] == name, within_s)

    def wait_for(self, met: Any, within_s: float) -> Json:
        deadline = time.monotonic() + within_s
        seq = -1
        while time.monotonic() < deadline:
            status = self.ask("status", "--after", str(seq), "--wait", "5")
            if met(status):
                return status
            seq = status["seq"]
        raise AssertionError("\n".join(self.lines()))

    def collect(self, name: str) -> bytes:
        """A whole file, in chunks."""
        data, eof = b"", False
        while not eof:
            [part] = self.ask("collect", name, str(len(data)), "100000")["parts"]
            data += base64.b64decode(part["data"])
            eof = part["eof"]
        return data

    def lines(self) -> list[str]:
        return self.log.read_text("utf-8").splitlines()

    def exit_code(self, within_s: float = 20) -> int:
        return self.process.wait(within_s)


_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import flaude_guest.__main__ as m; m.main()"
)


@contextlib.contextmanager
def guest(
    root: Path,
    *,
    claude: str = "true",
    arguments: tuple[str, ...] = (),
    stdout: int | None = None,
    **environ: str,
) -> Iterator[Guest]:
    """Start a supervisor in `root`; ended and cleared away with everything it started."""
    root.mkdir(parents=True, exist_ok=True)
    env = {
        "PATH": os.environ["PATH"],
        "FLAUDE_NONCE": NONCE,
        "FLAUDE_RUN_DIR": "run",
        "FLAUDE_STATE_DIR": "state",
        "FLAUDE_WORK_DIR": "workspace",
        "FLAUDE_HOME": "home",
        "FLAUDE_CLAUDE": claude,
        **environ,
    }
    log = root / "stdout"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [PYTHON, "-I", "-c", _PROGRAM, *arguments],
            env=env,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=file if stdout is None else stdout,
            start_new_session=True,
        )
    try:
        yield Guest(process, [PYTHON, "-I", "-c", _PROGRAM], root, env, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(8)
        if process.poll() is None:
            process.kill()
            process.wait()


@contextlib.contextmanager
def container(image: str, folder: Path, *options: str, **environ: str) -> Iterator[Guest]:
    """The machine image as a container on this machine's network; `options` are docker's."""
    log = folder / "container.log"
    variables = {"FLAUDE_NONCE": NONCE, **environ}
    words = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    name = f"flaude-test-guest-{uuid.uuid4().hex[:12]}"
    with log.open("wb") as stdout:
        process = subprocess.Popen(
            ["docker", "run", "--name", name, "--network=host", *options, *words, image],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
        )
    try:
        _await_container(name)
        command = ["docker", "exec", "--interactive", name, "flaude-guest"]
        yield Guest(process, command, folder, dict(os.environ), log)
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        process.wait(20)


def _await_container(name: str) -> None:
    deadline = time.monotonic() + 30
    state = ["docker", "inspect", "--format", "{{.State.Running}}", name]
    while subprocess.run(state, capture_output=True, check=False).stdout.strip() != b"true":
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def served(module: str, *args: str) -> Iterator[str]:
    """One of localfly's servers as a program; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *args, "--port", "0"],
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@contextlib.contextmanager
def model(folder: Path, *turns: Json, **script: Any) -> Iterator[str]:
    """The scripted Messages API with these turns; yields its URL."""
    file = folder / "script.json"
    file.write_text(json.dumps({"turns": list(turns), **script}))
    with served("localfly.messages", "--script", str(file)) as url:
        yield url


def bash(command: str, text: str = "") -> Json:
    """A turn in which the model runs a shell command."""
    return {"text": text, "tools": [{"name": "Bash", "input": {"command": command}}]}


def git(folder: Path, *args: str) -> str:
    """git with a fixed identity and nobody's configuration."""
    env = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{
            f"GIT_{who}_{what}": "t@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(["git", *args], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path, files: dict[str, str]) -> str:
    """A repository on branch `main` with one commit of these files; returns its sha."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=base")
    return git(folder, "rev-parse", "HEAD")


def pinned(folder: Path, sha: str, **changes: Any) -> Json:
    """A job's repository entry for a local folder (file: URLs are for guests without isolation)."""
    return {
        "url": f"file://{folder}",
        "ref": "main",
        "sha": sha,
        "directory": "repo",
        "token": None,
        **changes,
    }
