"""The control API under /_localfly/: what tests and rehearsals may do that the real Fly would not let them.

GET, DELETE /requests                  what was asked, with headers and bodies
GET, POST, DELETE /faults              see `faults.Fault`
GET, POST /settings                    see `settings.Settings`
POST /machines/{id}/end                forge an end: {"exit_event", "type", "nesting", "state", "runner_line"}
POST /machines/{id}/vanish             404 from now on, as when a host is lost
POST /machines/{id}/kill               SIGKILL to the workload
POST /machines/{id}/logs/lose          {"told": "keep"} to lose only further lines
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly.bodies import json_object, json_object_or_empty
from localfly.faults import FaultError
from localfly.machine_lines import MachineLines
from localfly.requests_seen import CONTROL
from localfly.settings import SettingError
from localfly.wire import machine_not_found, refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly
    from localfly.machine_record import Machine

_END_STATES = ("stopped", "failed", "destroyed")


class ControlApi:
    def __init__(self, fly: Fly) -> None:
        self._fly = fly

    def routes(self) -> list[Route]:
        machine = CONTROL + "machines/{machine_id}"
        return [
            Route(CONTROL + "requests", self.requests, methods=["GET"]),
            Route(CONTROL + "requests", self.forget_requests, methods=["DELETE"]),
            Route(CONTROL + "faults", self.faults, methods=["GET"]),
            Route(CONTROL + "faults", self.add_fault, methods=["POST"]),
            Route(CONTROL + "faults", self.forget_faults, methods=["DELETE"]),
            Route(CONTROL + "settings", self.settings, methods=["GET"]),
            Route(CONTROL + "settings", self.change_settings, methods=["POST"]),
            Route(machine + "/end", self.end, methods=["POST"]),
            Route(machine + "/vanish", self.vanish, methods=["POST"]),
            Route(machine + "/kill", self.kill, methods=["POST"]),
            Route(machine + "/logs/lose", self.lose_logs, methods=["POST"]),
        ]

    def _machine(self, request: Request) -> Machine:
        machine = self._fly.store.machines.get(request.path_params["machine_id"])
        if machine is None:
            raise machine_not_found()
        return machine

    async def requests(self, _request: Request) -> Response:
        return JSONResponse(list(self._fly.requests_seen.seen))

    async def forget_requests(self, _request: Request) -> Response:
        self._fly.requests_seen.seen.clear()
        return Response(status_code=204)

    async def faults(self, _request: Request) -> Response:
        return JSONResponse([asdict(fault) for fault in self._fly.faults.orders])

    async def add_fault(self, request: Request) -> Response:
        try:
            fault = self._fly.faults.add(await json_object(request))
        except FaultError as error:
            raise refused(400, str(error)) from error
        return JSONResponse(asdict(fault))

    async def forget_faults(self, _request: Request) -> Response:
        self._fly.faults.orders.clear()
        return Response(status_code=204)

    async def settings(self, _request: Request) -> Response:
        return JSONResponse(self._fly.settings.as_json())

    async def change_settings(self, request: Request) -> Response:
        try:
            self._fly.settings.change(await json_object(request))
        except SettingError as error:
            raise refused(400, str(error)) from error
        return JSONResponse(self._fly.settings.as_json())

    async def end(self, request: Request) -> Response:
        """End a machine with any story: the workload dies silently, `exit_event` (null: none) is told.

        `runner_line` is what the log hears of it from the platform; without one, nothing.
        """
        machine = self._machine(request)
        order = await json_object_or_empty(request, "localfly.end")
        state = order.get("state", "stopped")
        if state not in _END_STATES:
            raise refused(400, f"state is one of {', '.join(_END_STATES)}")
        flyd = self._fly.flyd
        await flyd.end_untold(machine)
        if "runner_line" in order:
            MachineLines(self._fly.logs, self._fly.settings).say(machine, "runner", str(order["runner_line"]))
        told: Any = order.get("exit_event")
        if told is not None:
            nested = {"MonitorEvent": {"exit_event": told}}
            payload = nested if order.get("nesting") == "MonitorEvent" else {"exit_event": told}
            machine.add_event(order.get("type", "exit"), "stopped", request=payload)
        machine.enter("stopped" if state == "destroyed" else state)
        self._fly.changes.tell(machine)
        if state == "destroyed" or (state == "stopped" and machine.config.get("auto_destroy")):
            flyd.destroy(machine)
            while state == "destroyed" and not machine.gone:
                await self._fly.changes.next(machine, 1.0)
        return JSONResponse({"ok": True})

    async def vanish(self, request: Request) -> Response:
        machine = self._machine(request)
        await self._fly.flyd.end_untold(machine)
        machine.vanished = True
        self._fly.changes.tell(machine)
        return JSONResponse({"ok": True})

    async def kill(self, request: Request) -> Response:
        workload = self._fly.flyd.workload_of(self._machine(request))
        if workload is None:
            raise refused(409, "nothing runs")
        await workload.kill()
        return JSONResponse({"ok": True})

    async def lose_logs(self, request: Request) -> Response:
        machine = self._machine(request)
        order = await json_object_or_empty(request, "localfly.lose")
        self._fly.logs.of(machine.id).lose(keep_told=order.get("told") == "keep")
        return JSONResponse({"ok": True})
