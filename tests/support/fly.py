"""localfly as a test meets it: a program on a free port, steered through its control API."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

SOURCE = Path(__file__).parents[2] / "src"
TOKEN = "fm2_localfly"
APP = "local"

SHELL = "shell:1"
"""An image of the process backend that runs `init.cmd` as `sh -c`'s words."""

IMAGES: dict[str, dict[str, Any]] = {SHELL: {"argv": ["sh", "-c"]}}


async def eventually(check: Callable[[], Awaitable[bool]], within_s: float = 20.0) -> None:
    """Ask until the answer is yes; fails the test when it does not come in time."""
    async with asyncio.timeout(within_s):
        while not await check():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


@dataclass
class LocalFlyHandle:
    """A running localfly. The URLs are what FLY_FLAPS_BASE_URL and FLY_API_BASE_URL would be."""

    command: list[str]
    state: Path
    flaps_url: str = ""
    api_url: str = ""
    pid: int = 0
    token: str = TOKEN
    app: str = APP
    process: asyncio.subprocess.Process | None = None
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=70, trust_env=False))

    async def start(self) -> None:
        """Start the program on the same state, as after a crash."""
        environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ
        }
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.PIPE, env=environment | {"PYTHONPATH": str(SOURCE)}
        )
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "localfly did not start"
        address = json.loads(line)
        self.flaps_url, self.api_url, self.pid = address["flaps"], address["api"], address["pid"]

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._finish(signal.SIGTERM)

    async def crash(self) -> None:
        """SIGKILL: what it ran goes on running."""
        await self._finish(signal.SIGKILL)

    async def _finish(self, number: int) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()

    # The Fly side, raw: for tests of localfly itself.

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """A Machines API call under /v1/apps/{app}, e.g. `call("GET", "/machines")`."""
        return await self.http.request(
            method,
            f"{self.flaps_url}/v1/apps/{self.app}{path}",
            json=body,
            headers={"Authorization": f"FlyV1 {self.token}"},
            **options,
        )

    async def create(self, script: str = "", *, image: str = SHELL, **config: Any) -> dict[str, Any]:
        """A machine that runs a shell script once and is destroyed after; `config` members go on top."""
        words = {"init": {"cmd": [script]}} if script else {}
        whole = {"image": image, "auto_destroy": True, "restart": {"policy": "no"}} | words | config
        answer = await self.call("POST", "/machines", {"config": whole})
        assert answer.status_code == 200, answer.text
        machine: dict[str, Any] = answer.json()
        return machine

    async def wait(self, machine_id: str, states: str, timeout_s: int = 20) -> dict[str, Any]:
        """`wait` for one of the states; asserts that it comes."""
        answer = await self.call(
            "GET", f"/machines/{machine_id}/wait", params={"state": states, "timeout": timeout_s}
        )
        assert answer.status_code == 200, answer.text
        reached: dict[str, Any] = answer.json()
        return reached

    async def until(self, machine_id: str, state: str) -> dict[str, Any]:
        """Ask GET until the machine has that state; the machine. Unlike `wait` it cannot come too late."""
        found: dict[str, Any] = {}

        async def reached() -> bool:
            found.update((await self.call("GET", f"/machines/{machine_id}")).json())
            return bool(found.get("state") == state)

        await eventually(reached)
        return found

    async def has_file(self, pattern: str) -> Path:
        """Wait until the only process machine's folder has a file of that pattern; the file."""
        found: list[Path] = []

        async def is_there() -> bool:
            found[:] = await asyncio.to_thread(lambda: list(self.state.glob(f"m/*/root/{pattern}")))
            return bool(found)

        await eventually(is_there)
        return found[0]

    async def says(self, machine_id: str, line: str) -> None:
        """Wait until the machine's program has printed that line."""

        async def said() -> bool:
            return line in await self.lines(machine_id)

        await eventually(said)

    async def log_page(self, **query: str | int) -> dict[str, Any]:
        answer = await self.http.get(
            f"{self.api_url}/api/v1/apps/{self.app}/logs",
            params=query,
            headers={"Authorization": f"FlyV1 {self.token}"},
        )
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    async def lines(self, machine_id: str, provider: str = "app") -> list[str]:
        """All messages of a machine from one provider, page by page from the beginning."""
        messages: list[str] = []
        token = "1"
        while page := (await self.log_page(instance=machine_id, next_token=token)):
            if not page["data"]:
                break
            for entry in page["data"]:
                if entry["attributes"]["meta"]["event"]["provider"] == provider:
                    messages.append(entry["attributes"]["message"])
            token = str(page["meta"]["next_token"])
        return messages

    # The control API.

    async def _control(self, method: str, path: str, body: object = None) -> Any:
        answer = await self.http.request(method, f"{self.flaps_url}/_localfly/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def requests(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        """What was asked, oldest first; only of a method, or only of paths that contain a text."""
        seen = await self._control("GET", "requests")
        return [request for request in seen if method in ("", request["method"]) and path in request["path"]]

    async def forget_requests(self) -> None:
        await self._control("DELETE", "requests")

    async def fault(self, path: str, method: str = "", **order: Any) -> None:
        """Order a fault: see localfly.faults.Fault for `times`, `skip`, `action` and the others."""
        await self._control("POST", "faults", {"path": path, "method": method} | order)

    async def forget_faults(self) -> None:
        await self._control("DELETE", "faults")

    async def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings, if any are given; all settings."""
        settings: dict[str, Any] = await self._control("POST", "settings", changes)
        return settings

    async def end(self, machine_id: str, exit_event: Mapping[str, Any] | None = None, **order: Any) -> None:
        """Forge an end: `type`, `nesting`, `state`."""
        await self._control("POST", f"machines/{machine_id}/end", {"exit_event": exit_event} | order)

    async def vanish(self, machine_id: str) -> None:
        await self._control("POST", f"machines/{machine_id}/vanish")

    async def kill(self, machine_id: str) -> None:
        await self._control("POST", f"machines/{machine_id}/kill")

    async def lose_logs(self, machine_id: str, *, keep_told: bool = False) -> None:
        await self._control("POST", f"machines/{machine_id}/logs/lose", {"told": "keep"} if keep_told else {})


@asynccontextmanager
async def localfly(
    *,
    backend: str = "process",
    images: Mapping[str, Mapping[str, Any]] | None = None,
    state: Path | None = None,
    **settings: Any,
) -> AsyncIterator[LocalFlyHandle]:
    """Start localfly; `images` (beside `shell:1`) are for the process backend, the rest are settings.

    `state` defaults to a short temporary directory (Unix sockets live below it) that is removed at the end.
    """
    directory = state or Path(tempfile.mkdtemp(prefix="lf-", dir="/tmp"))
    command = [sys.executable, "-m", "localfly", "--backend", backend, "--state", str(directory)]
    if backend == "process":
        file = directory / "images.json"
        file.write_text(json.dumps(IMAGES | {name: dict(image) for name, image in (images or {}).items()}))
        command += ["--images", str(file)]
    for name, value in settings.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    handle = LocalFlyHandle(command, directory)
    try:
        await handle.start()
        yield handle
    finally:
        await handle.http.aclose()
        if handle.process is not None:
            await handle.stop()
        if state is None:
            shutil.rmtree(directory, ignore_errors=True)
