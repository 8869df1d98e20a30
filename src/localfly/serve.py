"""localfly as a function: put the parts together, serve one loopback port, clean up at the end."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response

from localfly import loopback
from localfly.apps_api import AppsApi
from localfly.backend import BackendUnavailable
from localfly.connections import KnownConnection
from localfly.control import ControlApi
from localfly.exec_api import ExecApi
from localfly.faults import FaultLayer, Faults
from localfly.fly import Fly
from localfly.flyd import Flyd
from localfly.gate import Gate, PlatformHeaders
from localfly.log_store import LogStore
from localfly.logs_api import LogsApi
from localfly.machine_changes import MachineChanges
from localfly.machine_lines import MachineLines
from localfly.machine_run import Host
from localfly.machines_api import MachinesApi
from localfly.metadata_api import MetadataApi
from localfly.requests_seen import Recorder, RequestsSeen
from localfly.running_api import RunningApi
from localfly.settings import Settings
from localfly.store import App, Store
from localfly.wire import ApiError, no_route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from localfly.backend import Backend

_log = logging.getLogger("localfly")

BackendName = Literal["docker", "process"]


@dataclass(frozen=True)
class Address:
    """Where it answers: `flaps` for FLY_FLAPS_BASE_URL, `api` for FLY_API_BASE_URL; one port, two names."""

    flaps: str
    api: str
    pid: int

    def as_line(self) -> str:
        return json.dumps({"flaps": self.flaps, "api": self.api, "pid": self.pid})


def make_backend(name: BackendName, images: Path | None, settings: Settings, state: Path) -> Backend:
    """The docker SDK is only imported for the backend that needs it."""
    if name == "process":
        from localfly.process_backend import ProcessBackend

        return ProcessBackend.from_file(images)
    from localfly.docker_backend import DockerBackend

    return DockerBackend(settings, state)


def make_fly(backend: Backend, state: Path, settings: Settings) -> Fly:
    """A Fly over a state directory, with its first apps. Nothing runs yet: see `Flyd.resume`."""
    store = Store(state)
    logs = LogStore(state / "m")
    for name in settings.apps:
        if name not in store.apps:
            store.save_app(App(name, settings.organization))
    changes = MachineChanges(store)
    flyd = Flyd(Host(store, backend, settings, MachineLines(logs, settings), changes))
    return Fly(settings, store, logs, changes, flyd, Faults(), RequestsSeen())


def make_app(fly: Fly) -> ASGIApp:
    """The ASGI application: record, headers, faults, gate, routes, from the outside in."""
    apis = (MachinesApi, RunningApi, ExecApi, MetadataApi, AppsApi, LogsApi, ControlApi)
    routes = [route for api in apis for route in api(fly).routes()]
    handlers = {ApiError: _api_error, 404: _no_route, 405: _no_method, Exception: _broken}
    starlette = Starlette(routes=routes, exception_handlers=handlers)
    starlette.router.redirect_slashes = False
    app = FaultLayer(Gate(starlette, fly.settings), fly.faults)
    return Recorder(PlatformHeaders(app, fly.settings), fly.requests_seen)


async def _api_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    if isinstance(error.body, str):
        return PlainTextResponse(error.body, error.status)
    return JSONResponse(error.body, error.status)


async def _no_route(request: Request, _error: Exception) -> Response:
    return await _api_error(request, no_route())


async def _broken(_request: Request, error: Exception) -> Response:
    _log.error("a route broke", exc_info=error)
    return JSONResponse({"error": "internal: localfly broke"}, 500)


async def _no_method(_request: Request, _error: Exception) -> Response:
    return Response(status_code=405)


@asynccontextmanager
async def serving(
    backend: BackendName = "docker",
    *,
    settings: Settings | None = None,
    state: Path | None = None,
    images: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Address]:
    """Serve until the block ends, then remove every machine's workload (setting `keep_machines`: leave them).

    Without `state` nothing outlives the block. Raises OSError when the port is taken, BackendUnavailable when
    there is nothing to run machines with or another localfly uses the state; no machine is touched then.
    """
    settings = settings or Settings()
    with _directory(state) as directory, loopback.listen(host, port) as listener:
        fly = make_fly(make_backend(backend, images, settings, directory), directory, settings)
        try:
            await fly.flyd.resume()
            async with loopback.serve(make_app(fly), listener, http=KnownConnection) as url:
                yield Address(url, url, os.getpid())
        finally:
            await fly.flyd.close()
            fly.logs.close()


@contextmanager
def _directory(state: Path | None) -> Iterator[Path]:
    """The state directory, ours alone, with all links resolved; a temporary one is removed at the end."""
    if state is not None:
        state.mkdir(parents=True, exist_ok=True)
        with (state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BackendUnavailable(f"another localfly uses {state}") from error
            yield state.resolve()
        return
    directory = Path(tempfile.mkdtemp(prefix="localfly-")).resolve()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def told_to_end() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on; ask for it before anybody can know of the server."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told
