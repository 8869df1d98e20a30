"""Machines as containers of images the local Docker engine has: isolation, memory limit, init are real.

Each launch is a new container, as each boot of a machine is a new root file system. Containers carry labels,
so that a later localfly over the same state directory finds them, and nobody else's are touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig

import docker
from localfly.backend import (
    BackendUnavailable,
    ExecResult,
    Execution,
    Exit,
    Image,
    ImageMissing,
    Launch,
    LaunchFailed,
    NotRunning,
    ProgramMissing,
    Sink,
    Workload,
)
from localfly.docker_calls import EngineUnreachable, engine_address, exec_stream, follow_lines, in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from docker import DockerClient
    from localfly.settings import Settings

LABEL_STATE = "localfly.state"
LABEL_MACHINE = "localfly.machine"

_NOBODY = "65534:65534"


class DockerBackend:
    """`state` is the directory whose machines these are. Raises BackendUnavailable: there is no engine."""

    def __init__(self, settings: Settings, state: Path) -> None:
        self._settings = settings
        self._state = str(state)
        engine_address()
        try:
            self._client = docker.from_env()
        except DockerException as error:
            raise BackendUnavailable("no Docker engine answers (see DOCKER_HOST)") from error

    async def image(self, reference: str) -> Image:
        return await in_thread(lambda: self._image(reference))

    def _image(self, reference: str) -> Image:
        try:
            found = self._client.images.get(reference)
        except ImageNotFound as error:
            if self._settings.pull_images == "never":
                raise ImageMissing("no such image in the local engine") from error
            found = self._pulled(reference)
        repository = reference.partition("@")[0].rpartition(":")[0] or reference
        digests = [text.partition("@") for text in found.attrs.get("RepoDigests") or []]
        own = [digest for name, _, digest in digests if name == repository]
        digest = (own or [digest for _, _, digest in digests] or [""])[0]
        return Image(reference, digest, found.labels or {})

    def _pulled(self, reference: str) -> Any:
        try:
            return self._client.images.pull(reference)
        except DockerException as error:
            raise ImageMissing("the registry did not give it") from error

    async def start(self, launch: Launch, sink: Sink) -> Workload:
        await self.image(launch.image)
        try:
            container = await in_thread(lambda: self._start(launch))
        except APIError as error:
            raise LaunchFailed(error.explanation or "the engine refused") from error
        return DockerWorkload(self._client, container, sink, after_ns=0)

    def _start(self, launch: Launch) -> str:
        """Create and start; the engine keeps every line from the first on."""
        name = f"localfly-{launch.machine_id}"
        api = self._client.api
        with contextlib.suppress(NotFound):
            api.remove_container(name, force=True)
        memory = f"{launch.memory_mb}m"
        host_config = api.create_host_config(
            init=True,
            mem_limit=memory,
            memswap_limit=memory,
            network_mode="host" if self._settings.host_network else "bridge",
            log_config=LogConfig(type=LogConfig.types.JSON),
        )
        created = api.create_container(
            launch.image,
            command=launch.cmd,
            entrypoint=launch.entrypoint,
            environment=launch.env,
            host_config=host_config,
            labels={LABEL_STATE: self._state, LABEL_MACHINE: launch.machine_id},
            name=name,
        )
        container = str(created["Id"])
        api.start(container)
        return container

    async def attach(
        self, handle: dict[str, Any], launch: Launch, sink: Sink, cursor: int
    ) -> Workload | None:
        container = str(handle["container"])
        try:
            await in_thread(lambda: self._client.api.inspect_container(container))
        except NotFound:
            return None
        return DockerWorkload(self._client, container, sink, after_ns=cursor)

    async def close(self) -> None:
        self._client.close()


class DockerWorkload:
    """One container. `after_ns`: its lines up to this time have been told by an earlier localfly."""

    def __init__(self, client: DockerClient, container: str, sink: Sink, *, after_ns: int) -> None:
        self._client, self._container, self._sink = client, container, sink
        self._after_ns = after_ns
        self._sent: set[int] = set()

    @property
    def handle(self) -> dict[str, Any]:
        return {"container": self._container}

    async def ended(self) -> Exit:
        while True:
            await self._follow()
            try:
                state = (await in_thread(self._inspect))["State"]
            except NotFound:
                return Exit(137, signal.SIGKILL, error="the container was removed")
            if not state["Running"]:
                return self._exit(state)

    def _inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.api.inspect_container(self._container)
        return found

    async def _follow(self) -> None:
        """Hand lines over until the container ends or the engine closes the stream."""
        with contextlib.suppress(NotRunning):
            async with contextlib.aclosing(follow_lines(self._container, self._after_ns)) as lines:
                async for at_ns, line in lines:
                    self._after_ns = max(self._after_ns, at_ns)
                    self._sink(line, at_ns, at_ns)

    def _exit(self, state: dict[str, Any]) -> Exit:
        """A code over 128 is a signal only if we sent it or memory ran out: programs use them, too."""
        code, oom = int(state["ExitCode"]), bool(state["OOMKilled"])
        killed = code == 128 + signal.SIGKILL and oom
        fatal = code - 128 if killed or code - 128 in self._sent else None
        return Exit(code, fatal, oom_killed=oom, error=state.get("Error") or "")

    async def signal(self, number: int) -> None:
        self._sent.add(number)
        with contextlib.suppress(APIError):  # 404 or 409: it is over
            await in_thread(lambda: self._client.api.kill(self._container, number))

    async def kill(self) -> None:
        await self.signal(signal.SIGKILL)

    async def execute(self, execution: Execution) -> ExecResult:
        api = self._client.api
        user = "root" if execution.as_root else _NOBODY
        try:
            created = await in_thread(
                lambda: api.exec_create(self._container, execution.command, stdin=True, user=user)
            )
            exec_id = str(created["Id"])
            try:
                output = await exec_stream(exec_id, execution.stdin, execution.output_max_bytes)
            except asyncio.CancelledError:
                await asyncio.shield(in_thread(lambda: self._kill_exec(exec_id)))
                raise
            ended = await self._exec_ended(exec_id)
        except APIError as error:
            raise NotRunning(self._container) from error
        except EngineUnreachable as error:
            if await self._is_ending():
                raise NotRunning(self._container) from error
            raise
        if not ended["Pid"]:  # it never ran, and what came is the engine's own words
            missing = b': exec: "' in output.stdout
            raise ProgramMissing(execution.command[0]) if missing else NotRunning(self._container)
        return ExecResult(int(ended["ExitCode"]), output.stdout, output.stderr)

    async def _exec_ended(self, exec_id: str) -> dict[str, Any]:
        """The stream may end a moment before the engine knows the code."""
        while True:
            found: dict[str, Any] = await in_thread(lambda: self._client.api.exec_inspect(exec_id))
            if not found["Running"] and found["ExitCode"] is not None:
                return found
            await asyncio.sleep(0.01)

    async def _is_ending(self) -> bool:
        """The engine refuses commands a moment before it says that the container ended."""
        for _ in range(100):
            try:
                if not (await in_thread(self._inspect))["State"]["Running"]:
                    return True
            except NotFound:
                return True
            await asyncio.sleep(0.02)
        return False

    def _kill_exec(self, exec_id: str) -> None:
        """The engine cannot end an exec; where its process is one of ours to kill, we do."""
        with contextlib.suppress(APIError, ProcessLookupError, PermissionError):
            pid = self._client.api.exec_inspect(exec_id)["Pid"]
            if pid:
                os.kill(pid, signal.SIGKILL)

    async def remove(self) -> None:
        with contextlib.suppress(NotFound):
            await in_thread(lambda: self._client.api.remove_container(self._container, force=True, v=True))
