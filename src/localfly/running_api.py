"""Routes that start, stop, restart and signal a machine. What they do is `flyd`'s; refusals are here."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly import leases, machine_config
from localfly.bodies import json_object, json_object_or_empty
from localfly.wire import invalid, precondition

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly
    from localfly.machine_config import StopSteps
    from localfly.machine_record import Machine

_OK = {"ok": True}


class RunningApi:
    def __init__(self, fly: Fly) -> None:
        self._fly, self._flyd = fly, fly.flyd

    def routes(self) -> list[Route]:
        machine = "/v1/apps/{app}/machines/{machine_id}"
        return [
            Route(machine + "/start", self.start, methods=["POST"]),
            Route(machine + "/stop", self.stop, methods=["POST"]),
            Route(machine + "/restart", self.restart, methods=["POST"]),
            Route(machine + "/signal", self.signal, methods=["POST"]),
        ]

    async def start(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        previous = machine.state
        if previous == "replacing":
            raise precondition("machine getting replaced, refusing to start")
        if previous == "starting":
            raise precondition("machine still attempting to start")
        if previous in ("stopping", "restarting"):
            raise precondition("machine still active, refusing to start")
        waits_for_start = previous == "created" and not machine.launch_due
        if previous not in ("started", "stopped", "suspended") and not waits_for_start:
            raise precondition(f"unable to start machine from current state: '{previous}'")
        if previous != "started":
            machine.add_event("start", "starting", "user")
            machine.restart_count = 0
            machine.enter("starting")
            self._fly.changes.tell(machine)
            self._flyd.launch(machine)
        return JSONResponse({"previous_state": previous, "migrated": False, "new_host": ""})

    async def stop(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        order = await json_object_or_empty(request, "main.stopRequest", {"signal": str})
        self._flyd.stop(machine, _stop_steps(machine, order))
        return JSONResponse(_OK)

    async def restart(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        if machine.state != "started":
            raise precondition(f"unable to restart machine from current state: '{machine.state}'")
        query = request.query_params
        order = {name: query[name] for name in ("signal", "timeout") if name in query}
        self._flyd.restart(machine, _stop_steps(machine, order))
        return JSONResponse(_OK)

    async def signal(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        body = await json_object(request)
        number = _signal_number(body.get("signal"))
        workload = self._flyd.workload_of(machine)
        if workload is None:
            raise precondition("machine not running")
        await (workload.kill() if number == signal.SIGKILL else workload.signal(number))
        return JSONResponse(_OK)


def _stop_steps(machine: Machine, order: dict[str, Any]) -> StopSteps:
    """What the request says goes before the machine's own stop_config."""
    configured = machine.config.get("stop_config") or {}
    return machine_config.stop_steps(
        configured | {key: order[key] for key in order if order[key] is not None}
    )


def _signal_number(given: object) -> int:
    """A name, or the number that fly-go sends. Raises ApiError."""
    try:
        return signal.Signals[given] if isinstance(given, str) else signal.Signals(int(str(given)))
    except (KeyError, ValueError) as error:
        raise invalid(f"invalid signal '{given}'") from error
