"""The real programs the tests run against: where they are, how they are made, and why one is not here.

An engine is Docker, a registry, the workflow runner `act`, Claude Code, flaude, or what
checks workflows. It is
looked for when a test asks for it; for Docker that includes making the base image. Which tests need which
is said by markers; `tests/conftest.py` turns a missing one into a skip or, when required, into an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from bench.startup import flaude_missing

from flaude_action import machine_dockerfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("FLAUDE_CACHE") or Path.home() / ".cache" / "flaude-action")
BASE_IMAGE = "flaude-test-base:latest"
WORKFLOW_PARSER = "@actions/workflow-parser@0.3.61"
_INSTALL = "python -m tests.support.engines install-"


def claude_version() -> str:
    """The Claude Code version the machine image installs."""
    return machine_dockerfile.default("CLAUDE_CODE_VERSION")


# Finding.


def _docker_missing() -> str:
    if not shutil.which("docker"):
        return "there is no docker program"
    if _run("docker", "version", check=False).returncode != 0:
        return "no Docker engine answers"
    try:
        base_image()
    except RuntimeError as error:
        return f"the base image cannot be made ({str(error).splitlines()[-1]})"
    return ""


def _registry_missing() -> str:
    return "" if _registry_program() else "there is no docker-registry program"


def _act_missing() -> str:
    return _docker_missing() or ("" if _tool("act") else "act is not installed (make tools)")


def _zizmor_missing() -> str:
    return "" if _tool("zizmor") else "zizmor is not installed (make tools)"


def _claude_missing() -> str:
    return "" if _claude_path() else f"Claude Code {claude_version()} is not installed ({_INSTALL}claude)"


def _workflow_parser_missing() -> str:
    installed = shutil.which("node") and _parser_folder().exists()
    return "" if installed else f"GitHub's workflow parser is not installed ({_INSTALL}workflow-parser)"


ENGINES: dict[str, Callable[[], str]] = {
    "docker": functools.cache(_docker_missing),
    "registry": functools.cache(_registry_missing),
    "act": functools.cache(_act_missing),
    "claude": functools.cache(_claude_missing),
    "zizmor": functools.cache(_zizmor_missing),
    "workflow_parser": functools.cache(_workflow_parser_missing),
    "flaude": functools.cache(flaude_missing),
}
"""For each engine (and marker), why it cannot be used here; an empty string when it can."""


def _registry_program() -> str | None:
    return shutil.which("docker-registry") or shutil.which("registry")


def _tool(name: str) -> str | None:
    ours = ROOT / ".cache" / "tools" / "bin" / name
    return str(ours) if ours.exists() else shutil.which(name)


def _claude_folder() -> Path:
    return CACHE / f"claude-{claude_version()}"


def _claude_package() -> str:
    return "@anthropic-ai/claude-code-linux-" + {"aarch64": "arm64"}.get(platform.machine(), "x64")


def _claude_path() -> Path | None:
    if named := os.environ.get("FLAUDE_TEST_CLAUDE"):
        return Path(named)
    installed = _claude_folder() / "node_modules" / _claude_package() / "claude"
    return installed if installed.exists() else None


def _parser_folder() -> Path:
    return CACHE / WORKFLOW_PARSER.rsplit("/", 1)[1]


def act() -> str:
    """The `act` program. Raises LookupError when there is none."""
    return _found(_tool("act"), "act")


def zizmor() -> str:
    """The `zizmor` program. Raises LookupError when there is none."""
    return _found(_tool("zizmor"), "zizmor")


def claude() -> Path:
    """The Claude Code program of the pinned version. Raises LookupError when there is none."""
    return Path(_found(_claude_path(), "claude"))


def parse_workflows(*files: Path) -> list[str]:
    """What GitHub's own parser says is wrong with workflows and action.yml files, a line for each problem."""
    script = ROOT / "tests" / "support" / "parse_workflows.mjs"
    return _run("node", str(script), str(_parser_folder()), *map(str, files)).stdout.splitlines()


def _found(value: str | Path | None, what: str) -> str:
    if value is None:
        raise LookupError(f"{what}: {ENGINES[what]()}")
    return str(value)


# Making.


def install_claude() -> Path:
    """Put the pinned Claude Code into the cache folder with npm; quick when it is there already."""
    if not _claude_path():
        _npm_install(_claude_folder(), f"{_claude_package()}@{claude_version()}")
    return claude()


def install_workflow_parser() -> Path:
    """Put GitHub's workflow parser into the cache folder with npm; quick when it is there already."""
    if not _parser_folder().exists():
        _npm_install(_parser_folder(), WORKFLOW_PARSER)
    return _parser_folder()


def _npm_install(folder: Path, *packages: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        _run("npm", "install", "--silent", "--no-save", "--prefix", unfinished, *packages)
        Path(unfinished).rename(folder)


@functools.cache
def base_image() -> str:
    """The image the others are built on: `FLAUDE_TEST_BASE_IMAGE` as it is, else ours, made if need be."""
    if named := os.environ.get("FLAUDE_TEST_BASE_IMAGE"):
        return named
    _run(str(ROOT / ".ci" / "base-image"), BASE_IMAGE)
    return BASE_IMAGE


@functools.cache
def action_image() -> str:
    """The action's own container, built from this tree."""
    return _build("action", ROOT / "Dockerfile", {"BASE_IMAGE": base_image()})


@functools.cache
def machine_image() -> str:
    """The image a machine boots, built from this tree."""
    return lay_on(base_image(), "machine")


def lay_on(base: str, name: str, target: str = "") -> str:
    """Build the machine image on any base, to the end or to the stage `target`.

    Raises RuntimeError with the build's last lines when it fails.
    """
    arguments = machine_dockerfile.arguments(base, npm_registry())
    return _build(name, machine_dockerfile.DOCKERFILE, arguments, target=target)


def user_base(name: str, dockerfile: str, files: Mapping[str, str] | None = None) -> str:
    """A base image as a user would make it. `dockerfile` begins after FROM; the files are executable."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for file, text in (files or {}).items():
            (context / file).write_text(text)
            (context / file).chmod(0o755)
        (context / "Dockerfile").write_text(f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}} AS made\n{dockerfile}")
        return _build(name, context / "Dockerfile", {"BASE_IMAGE": base_image()}, context)


def npm_registry() -> str:
    answer = _run("npm", "config", "get", "registry", check=False) if shutil.which("npm") else None
    return answer.stdout.strip().rstrip("/") if answer and answer.returncode == 0 else ""


def _build(
    name: str, dockerfile: Path, arguments: dict[str, str], context: Path = ROOT, target: str = ""
) -> str:
    # Every checkout has tags of its own; the layers are shared.
    tag = f"flaude-test-{name}:{hashlib.sha256(bytes(ROOT)).hexdigest()[:12]}"
    build_args = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    command = [
        "docker",
        "build",
        "--quiet",
        "--force-rm",
        "--tag",
        tag,
        "--file",
        str(dockerfile),
        *build_args,
        *(["--target", target] if target else []),
        str(context),
    ]
    _run(*command, env={"DOCKER_BUILDKIT": "0"})
    return tag


@contextlib.contextmanager
def registry() -> Iterator[str]:
    """An empty registry on loopback, as `127.0.0.1:port`, for the length of the block."""
    program = _found(_registry_program(), "registry")
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="flaude-registry-") as folder:
        config = Path(folder) / "config.yml"
        config.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
        )
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
        try:
            _wait_for_answer(f"http://{address}/v2/", process)
            yield address
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def act_lock() -> Iterator[None]:
    """Hold the right to run act: it names containers after the workflow alone, so two runs would collide."""
    with (Path(tempfile.gettempdir()) / "flaude-test-act.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not serve {url}")
        time.sleep(0.02)


def _run(
    *command: str, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}
    )
    if check and done.returncode != 0:
        output = (done.stdout + done.stderr).strip()[-4000:]
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{output}")
    return done


MAKERS: dict[str, Callable[[], object]] = {
    "install-claude": install_claude,
    "install-workflow-parser": install_workflow_parser,
    "base-image": base_image,
    "action-image": action_image,
    "machine-image": machine_image,
}

if __name__ == "__main__":
    print(MAKERS[sys.argv[1]]())
