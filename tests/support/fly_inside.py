"""localfly inside the test's own process: the real routes over workloads that end when the test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from localfly.backend import ExecResult, Execution, Exit, Image, ImageMissing, Launch, Sink, Workload
from localfly.fly import Fly
from localfly.serve import make_app, make_fly
from localfly.settings import Settings

IMAGE = "registry.fly.io/local:1"


class ScriptedWorkload:
    """A workload of words only: `say` lines, `end` it, read what signals it got.

    While it is `immortal` it has a SIGKILL still before it; until it is `removable` its removal takes time.
    """

    def __init__(self, launch: Launch, sink: Sink) -> None:
        self.launch, self._sink = launch, sink
        self._end: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.signals: list[int] = []
        self.executions: list[Execution] = []
        self.answer = ExecResult(0, b"", b"")
        self.answer_delay_s = 0.0
        self.removed = False
        self.removable = asyncio.Event()
        self.removable.set()
        self.immortal = False
        self.ends_at: dict[int, Exit] = {}
        self._said = 0

    @property
    def handle(self) -> dict[str, Any]:
        return {"machine": self.launch.machine_id}

    def say(self, *lines: str) -> None:
        for line in lines:
            self._said += 1
            self._sink(line.encode(), self._said, None)

    def end(self, code: int = 0, signal: int | None = None, *, oom: bool = False) -> None:
        if not self._end.done():
            self._end.set_result(Exit(code, signal, oom_killed=oom))

    async def ended(self) -> Exit:
        return await asyncio.shield(self._end)

    async def signal(self, number: int) -> None:
        self.signals.append(number)
        if number in self.ends_at:
            end = self.ends_at[number]
            self.end(end.exit_code, end.signal)

    async def kill(self) -> None:
        self.signals.append(9)
        if not self.immortal:
            self.end(137, 9)

    async def execute(self, execution: Execution) -> ExecResult:
        self.executions.append(execution)
        await asyncio.sleep(self.answer_delay_s)
        return self.answer

    async def remove(self) -> None:
        await self.removable.wait()
        self.removed = True


@dataclass
class ScriptedBackend:
    """Keeps every workload it started, newest last; `surviving` are found again by the next localfly.

    It looks images up, and so starts anything, only while it `answers`.
    """

    labels: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    started: list[ScriptedWorkload] = field(default_factory=list)
    surviving: dict[str, ScriptedWorkload] = field(default_factory=dict)
    attached_after: list[int] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    async def image(self, reference: str) -> Image:
        await self.answers.wait()
        if reference.startswith("missing"):
            raise ImageMissing("no such image")
        return Image(reference, self.digest, self.labels)

    async def start(self, launch: Launch, sink: Sink) -> Workload:
        await self.image(launch.image)
        self.started.append(ScriptedWorkload(launch, sink))
        return self.started[-1]

    async def attach(
        self, handle: dict[str, Any], launch: Launch, sink: Sink, cursor: int
    ) -> Workload | None:
        self.attached_after.append(cursor)
        return self.surviving.get(handle["machine"])

    async def close(self) -> None:
        return


@dataclass
class Inside:
    """A Fly and a client of it. `call` speaks to /v1/apps/local…; `http` to any path."""

    fly: Fly
    backend: ScriptedBackend
    http: httpx.AsyncClient

    async def call(self, method: str, path: str = "", body: object = None, **options: Any) -> httpx.Response:
        return await self.http.request(method, f"/v1/apps/local{path}", json=body, **options)

    async def create(self, *, name: str = "", region: str = "", **config: Any) -> dict[str, Any]:
        """A created machine, `restart: no` unless the configuration says otherwise."""
        whole = {"image": IMAGE, "restart": {"policy": "no"}} | config
        body = {"config": whole} | ({"name": name} if name else {}) | ({"region": region} if region else {})
        answer = await self.call("POST", "/machines", body)
        assert answer.status_code == 200, answer.text
        machine: dict[str, Any] = answer.json()
        return machine

    async def started(self, **config: Any) -> tuple[str, ScriptedWorkload]:
        """A running machine's id and its workload."""
        machine = await self.create(**config)
        await self.reach(machine["id"], "started")
        return machine["id"], self.backend.started[-1]

    async def reach(self, machine_id: str, state: str) -> None:
        """Wait until the machine has that state; fails the test when it does not come in time."""
        machine = self.fly.store.machines[machine_id]
        async with asyncio.timeout(10):
            while machine.state != state:
                await self.fly.changes.next(machine, 1)

    async def events(self, machine_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = (await self.call("GET", f"/machines/{machine_id}/events")).json()
        return events

    async def exit_event(self, machine_id: str) -> dict[str, Any]:
        """The newest event of type exit or crash."""
        events = await self.events(machine_id)
        return next(event for event in events if event["type"] in ("exit", "crash"))


@asynccontextmanager
async def fly_inside(
    directory: Path, backend: ScriptedBackend | None = None, **settings: Any
) -> AsyncIterator[Inside]:
    """A Fly over `directory`; leaving the block ends it like SIGTERM."""
    chosen = Settings()
    chosen.change({"destroy_delay_s": 0} | settings)
    backend = backend or ScriptedBackend()
    fly = make_fly(backend, directory, chosen)
    await fly.flyd.resume()
    transport = httpx.ASGITransport(make_app(fly))
    headers = {"Authorization": "FlyV1 fm2_test"}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://fly", headers=headers) as http:
            yield Inside(fly, backend, http)
    finally:
        await fly.flyd.close()
        fly.logs.close()
