"""Machines as process trees on this computer: for tests and rehearsals without a container engine.

An image is an entry of the images file: `{"<reference>": {"argv": […], "env": {…}, "labels": {…}, "path":
[…], "digest": "sha256:…"}}`; in `argv` and `env`, `{root}` stands for the machine's private folder and
`{machine_id}` for its id. Nothing is isolated: memory limits do not hold and the file system is shared. How a
process ends and what it leaves is `process_init`'s part; its lines come from the file it writes to
(`process_output`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from localfly import process_init
from localfly.backend import (
    DEFAULT_PATH,
    BackendUnavailable,
    ExecResult,
    Execution,
    Exit,
    Image,
    ImageMissing,
    Launch,
    LaunchFailed,
    ProgramMissing,
    Sink,
    Workload,
)
from localfly.process_output import OutputFile
from localfly.process_tree import MARK, kill_all, marked, start_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NOBODY = 65534


class ProcessBackend:
    def __init__(self, images: dict[str, dict[str, Any]]) -> None:
        self._images = images

    @classmethod
    def from_file(cls, path: Path | None) -> ProcessBackend:
        """Raises BackendUnavailable when the file is not what the module says."""
        try:
            images = json.loads(path.read_text()) if path else {}
            complete = all(isinstance(image["argv"], list) for image in images.values())
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise BackendUnavailable(f"{path} is no file of images") from error
        if not complete:
            raise BackendUnavailable(f"{path} has an image whose argv is no list")
        return cls(images)

    def _program(self, reference: str) -> dict[str, Any]:
        for name in (reference, reference.partition("@")[0]):
            if name in self._images:
                return self._images[name]
        raise ImageMissing(reference)

    async def image(self, reference: str) -> Image:
        program = self._program(reference)
        return Image(reference, program.get("digest", ""), program.get("labels", {}))

    async def start(self, launch: Launch, sink: Sink) -> Workload:
        program = self._program(launch.image)
        argv = [*(launch.entrypoint or _filled(program["argv"], launch)), *(launch.cmd or [])]
        init = [sys.executable, "-I", "-S", process_init.__file__, str(launch.directory), *argv]
        env = _environment(program, launch)
        output = launch.directory / "output"
        try:
            (launch.directory / "root").mkdir(exist_ok=True)
            (launch.directory / "exit.json").unlink(missing_ok=True)
            with output.open("ab") as stdout, _signals_blocked():
                offset = stdout.tell()
                process = subprocess.Popen(  # noqa: ASYNC220 - returns when the program runs, in milliseconds
                    init,
                    cwd=launch.directory / "root",
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stdout,
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:  # an environment that is too long, or that none can have
            raise LaunchFailed(str(error)) from error
        handle = {"pid": process.pid, "start": start_ticks(process.pid), "env": env}
        init_fd = os.pidfd_open(process.pid)
        return ProcessWorkload(launch, handle, OutputFile(output, offset, sink), init_fd, process)

    async def attach(
        self, handle: dict[str, Any], launch: Launch, sink: Sink, cursor: int
    ) -> Workload | None:
        init_fd = _open_again(handle["pid"], handle["start"])
        if init_fd is None and not (launch.directory / "exit.json").exists():
            return None
        output = OutputFile(launch.directory / "output", cursor, sink)
        return ProcessWorkload(launch, handle, output, init_fd)

    async def close(self) -> None:
        """Nothing is held open between machines."""


class ProcessWorkload:
    """One process tree. `init_fd` is None if its init had ended before we looked, `process` is our child."""

    def __init__(
        self,
        launch: Launch,
        handle: dict[str, Any],
        output: OutputFile,
        init_fd: int | None,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self._launch, self._handle, self._output = launch, handle, output
        self._init_fd, self._process = init_fd, process
        self._over = asyncio.Event()
        if init_fd is None:
            self._over.set()
        else:
            asyncio.get_running_loop().add_reader(init_fd, self._on_end)

    @property
    def handle(self) -> dict[str, Any]:
        return self._handle

    def _on_end(self) -> None:
        if self._init_fd is not None:
            asyncio.get_running_loop().remove_reader(self._init_fd)
            os.close(self._init_fd)
            self._init_fd = None
        if self._process is not None:
            self._process.wait()
        self._over.set()

    async def ended(self) -> Exit:
        await self._output.follow(self._over)
        kill_all(marked(self._launch.machine_id))
        try:
            status = json.loads((self._launch.directory / "exit.json").read_text())["status"]
        except FileNotFoundError:
            return Exit(137, signal.SIGKILL, error="init was killed")
        if os.WIFSIGNALED(status):
            return Exit(128 + os.WTERMSIG(status), os.WTERMSIG(status))
        return Exit(os.WEXITSTATUS(status))

    async def signal(self, number: int) -> None:
        self._send(number)

    async def kill(self) -> None:
        self._send(process_init.KILL_ALL)

    def _send(self, number: int) -> None:
        if self._init_fd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_fd, number)

    async def execute(self, execution: Execution) -> ExecResult:
        demoted = not execution.as_root and os.geteuid() == 0
        who: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if demoted else {}
        try:
            process = await asyncio.create_subprocess_exec(
                *execution.command,
                cwd=self._launch.directory / "root",
                env=self._handle["env"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                **who,
            )
        except OSError as error:
            raise ProgramMissing(execution.command[0]) from error
        try:
            stdout, stderr, _ = await asyncio.gather(
                _read(process.stdout, execution.output_max_bytes),
                _read(process.stderr, execution.output_max_bytes),
                _write(process.stdin, execution.stdin),
            )
            code = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return ExecResult(128 - code if code < 0 else code, stdout, stderr, max(-code, 0))

    async def remove(self) -> None:
        """Nothing: the next launch goes on in the same folder and file, and counts its lines on."""


def _open_again(pid: int, started: int | None) -> int | None:
    """A handle on a process that is still the same one."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_ticks(pid) != started:
        os.close(handle)
        return None
    return handle


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """What is started within inherits the mask: a signal for init waits until init can take it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment(program: dict[str, Any], launch: Launch) -> dict[str, str]:
    root = str(launch.directory / "root")
    path = [*program.get("path", []), DEFAULT_PATH]
    base = {"HOME": root, "TMPDIR": root, "LANG": "C.UTF-8", "PATH": ":".join(path), "PWD": root}
    names = program.get("env", {})
    own = dict(zip(names, _filled(list(names.values()), launch), strict=True))
    return base | own | launch.env | {MARK: launch.machine_id}


def _filled(texts: list[str], launch: Launch) -> list[str]:
    root = str(launch.directory / "root")
    return [text.replace("{root}", root).replace("{machine_id}", launch.machine_id) for text in texts]


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    """All of a stream is read, so that the writer never blocks; only the beginning is kept."""
    kept = bytearray()
    while stream is not None and (chunk := await stream.read(1 << 16)):
        kept += chunk[: limit - len(kept)]
    return bytes(kept)


async def _write(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    if stream is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
    stream.close()
