"""Machines as process trees on this computer: for tests and rehearsals without a container engine.

An image is an entry of the images file: `{"<reference>": {"argv": […], "env": {…}, "labels": {…}, "path":
[…], "digest": "sha256:…"}}`; in `argv` and `env`, `{root}` stands for the machine's private folder and
`{machine_id}` for its id. Nothing is isolated: memory limits do not hold and the file system is shared. How a
process ends and what it leaves is `process_init`'s part; lines are read from the file it writes to, so none
is lost while localfly is away.
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
    ProgramMissing,
    Sink,
    Workload,
)
from localfly.process_tree import MARK, kill_all, marked, start_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NOBODY = 65534
_CHUNK = 1 << 18
_LONGEST_LINE = 1 << 20
_LOOK_S = (0.01, 0.05)


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
        root = launch.directory / "root"
        root.mkdir(exist_ok=True)
        output = launch.directory / "output"
        output.touch()
        note = launch.directory / "exit.json"
        note.unlink(missing_ok=True)
        argv = [*(launch.entrypoint or _filled(program["argv"], launch)), *(launch.cmd or [])]
        init = [sys.executable, "-I", "-S", process_init.__file__, str(launch.directory), *argv]
        env = _environment(program, launch)
        offset = output.stat().st_size
        with output.open("ab") as stdout, _signals_blocked():
            process = subprocess.Popen(  # noqa: ASYNC220 - returns when the program runs, in milliseconds
                init,
                cwd=root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stdout,
                start_new_session=True,
            )
        return ProcessWorkload(launch, env, _Output(output, offset, sink), process.pid, process)

    async def attach(
        self, handle: dict[str, Any], launch: Launch, sink: Sink, cursor: int
    ) -> Workload | None:
        pid = int(handle["pid"])
        output = _Output(launch.directory / "output", cursor, sink)
        env = _environment(self._program(launch.image), launch)
        if start_ticks(pid) == handle["start"]:
            return ProcessWorkload(launch, env, output, pid, None)
        if (launch.directory / "exit.json").exists():
            return ProcessWorkload(launch, env, output, None, None)
        return None

    async def close(self) -> None:
        """Nothing is held open between machines."""


class ProcessWorkload:
    """One process tree; `pid` is its init's, None when that had ended before we looked."""

    def __init__(
        self,
        launch: Launch,
        env: dict[str, str],
        output: _Output,
        pid: int | None,
        process: subprocess.Popen[bytes] | None,
    ) -> None:
        self._launch, self._env, self._output = launch, env, output
        self._pid, self._process = pid, process
        self._handle = {"pid": pid, "start": start_ticks(pid) if pid else None}
        self._over = asyncio.Event()
        self._pidfd: int | None = None
        if pid is None:
            self._over.set()
        else:
            self._pidfd = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)

    @property
    def handle(self) -> dict[str, Any]:
        return self._handle

    def _on_end(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
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
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def execute(self, execution: Execution) -> ExecResult:
        demoted = not execution.as_root and os.geteuid() == 0
        who: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if demoted else {}
        try:
            process = await asyncio.create_subprocess_exec(
                *execution.command,
                cwd=self._launch.directory / "root",
                env=self._env,
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
        (self._launch.directory / "output").unlink(missing_ok=True)


class _Output:
    """The file a workload writes to, read line by line from an offset."""

    def __init__(self, path: Path, offset: int, sink: Sink) -> None:
        self._path, self._offset, self._sink = path, offset, sink
        self._rest = b""
        self._file = path.open("rb") if path.exists() else None

    async def follow(self, over: asyncio.Event) -> None:
        """Hand on lines until the writer is over and the file is read out."""
        if self._file is None:
            await over.wait()
            return
        shortest, longest = _LOOK_S
        pause = shortest
        while True:
            last_look = over.is_set()
            if self._read_on():
                pause = shortest
                await asyncio.sleep(0)
                continue
            if last_look:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), pause)
            pause = min(pause * 1.5, longest)
        if self._rest:
            self._sink(self._rest, self._offset + len(self._rest), None)
        self._file.close()

    def _read_on(self) -> bool:
        if self._file is None:
            return False
        self._file.seek(self._offset + len(self._rest))
        chunk = self._file.read(_CHUNK)
        if not chunk:
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._offset += len(line) + 1
            self._sink(line, self._offset, None)
        if len(self._rest) > _LONGEST_LINE:
            self._offset += len(self._rest)
            self._sink(self._rest, self._offset, None)
            self._rest = b""
        return True


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
