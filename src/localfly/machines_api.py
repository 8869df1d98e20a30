"""Routes that make, show, move and end machines. What they do is `flyd`'s; refusals are here.

Beside them: `metadata_api` (and leases), `exec_api`, `apps_api`, `logs_api`.
"""

from __future__ import annotations

import base64
import signal
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly import identifiers, leases, machine_config, waits
from localfly.backend import ImageMissing
from localfly.bodies import json_object, json_object_or_empty
from localfly.gate import AFFINITY_COOKIE
from localfly.machine_record import DESTROYABLE, Machine
from localfly.wire import (
    event_json,
    image_ref_json,
    invalid,
    machine_json,
    machine_not_found,
    name_held,
    precondition,
    refused,
    summary_json,
)

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly

_OK = {"ok": True}


class MachinesApi:
    def __init__(self, fly: Fly) -> None:
        self._fly, self._flyd, self._settings = fly, fly.flyd, fly.settings

    def routes(self) -> list[Route]:
        machines = "/v1/apps/{app}/machines"
        one = machines + "/{machine_id}"
        return [
            Route(machines, self.create, methods=["POST"]),
            Route(machines, self.list_all, methods=["GET"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.update, methods=["POST"]),
            Route(one, self.destroy, methods=["DELETE"]),
            Route(one + "/events", self.events, methods=["GET"]),
            Route(one + "/versions", self.versions, methods=["GET"]),
            Route(one + "/wait", self.wait, methods=["GET"]),
            Route(one + "/start", self.start, methods=["POST"]),
            Route(one + "/stop", self.stop, methods=["POST"]),
            Route(one + "/restart", self.restart, methods=["POST"]),
            Route(one + "/signal", self.signal, methods=["POST"]),
        ]

    def _machine(self, request: Request) -> Machine:
        """Raises ApiError 404, also for a machine too young for a reader without the affinity cookie."""
        machine = self._fly.machine(request.path_params["app"], request.path_params["machine_id"])
        if self._unseen(request, machine):
            raise machine_not_found()
        return machine

    def _unseen(self, request: Request, machine: Machine) -> bool:
        young = time.time() - machine.created_at < self._settings.stale_reads_s
        return young and AFFINITY_COOKIE not in request.cookies

    async def _image_ref(self, reference: str) -> dict[str, Any]:
        try:
            image = await self._flyd.backend.image(reference)
        except ImageMissing as error:
            if self._settings.missing_image == "refused":
                raise invalid(f"failed to get manifest {reference}: request returned Not Found") from error
            return image_ref_json(reference, "", {})
        return image_ref_json(reference, image.digest, image.labels)

    async def create(self, request: Request) -> Response:
        app = self._fly.app(request.path_params["app"])
        body = await json_object(request)
        config = machine_config.checked(body.get("config"), self._settings)
        region = machine_config.check_region(body.get("region"), self._settings)
        image_ref = await self._image_ref(config["image"])
        name = body.get("name") or identifiers.machine_name()
        ttl_s = body.get("lease_ttl") or 0
        if not isinstance(name, str) or type(ttl_s) is not int:
            raise refused(
                400, "json: cannot unmarshal value into Go struct of type main.createMachineRequest"
            )
        holder = self._fly.store.holder_of(app.name, name)
        if holder is not None:
            raise name_held(holder)
        machine = Machine(identifiers.machine_id(), app.name, name, region, config, image_ref)
        machine.launch_due = not body.get("skip_launch")
        nonce = leases.take(machine, ttl_s, "").nonce if ttl_s else ""
        machine.add_event("launch", "pending", "user")
        machine.add_event("launch", "created")
        self._flyd.changed(machine)
        if machine.launch_due:
            self._flyd.launch(machine)
        return JSONResponse(machine_json(machine, nonce=nonce))

    async def list_all(self, request: Request) -> Response:
        app = self._fly.app(request.path_params["app"])
        query = request.query_params
        states = [state for state in query.get("state", "").split(",") if state]
        metadata = {key[9:]: value for key, value in query.items() if key.startswith("metadata.")}
        found = [
            machine
            for machine in self._fly.machines_of(app.name)
            if (not machine.gone or query.get("include_deleted") == "true")
            and (not states or machine.state in states)
            and query.get("region", machine.region) == machine.region
            and metadata.items() <= machine.metadata.items()
            and not self._unseen(request, machine)
        ]
        page, headers = _page(found, query.get("limit"), query.get("cursor"))
        as_json = summary_json if query.get("summary") == "true" else machine_json
        return JSONResponse([as_json(machine) for machine in page], headers=headers)

    async def get(self, request: Request) -> Response:
        return JSONResponse(machine_json(self._machine(request)))

    async def update(self, request: Request) -> Response:
        machine = self._machine(request)
        leases.check(machine, request)
        body = await json_object(request)
        if machine.state in ("destroying", "destroyed"):
            raise precondition(f"unable to update machine from current state: '{machine.state}'")
        config = machine_config.checked(body.get("config"), self._settings)
        if body.get("current_version") not in (None, "", machine.instance_id):
            raise refused(409, "aborted: machine update failed due to concurrent update")
        machine.replace_config(config, await self._image_ref(config["image"]))
        self._flyd.replace(machine, skip_launch=bool(body.get("skip_launch")))
        return JSONResponse(machine_json(machine))

    async def destroy(self, request: Request) -> Response:
        machine = self._machine(request)
        leases.check(machine, request)
        forced = "true" in (request.query_params.get("force"), request.query_params.get("kill"))
        ending = machine.state in ("destroying", "destroyed")
        if not forced and not ending and machine.state not in DESTROYABLE:
            raise precondition(
                "unable to destroy machine, not currently stopped, suspended, failed or created"
            )
        self._flyd.destroy(machine)
        return JSONResponse(_OK)

    async def events(self, request: Request) -> Response:
        machine = self._machine(request)
        limit = request.query_params.get("limit", "20")
        if not limit.isdigit() or not 1 <= int(limit) <= 50:
            raise invalid("limit must be between 1 and 50")
        return JSONResponse([event_json(event) for event in machine.events[: int(limit)]])

    async def versions(self, request: Request) -> Response:
        return JSONResponse(self._machine(request).versions)

    async def wait(self, request: Request) -> Response:
        machine = self._machine(request)
        query = request.query_params
        wanted = waits.wanted_states(query.getlist("state"))
        version = query.get("version") or query.get("instance_id") or ""
        if self._settings.wait_stopped_needs_version and "stopped" in wanted and not version:
            raise invalid("instance_id is required when waiting for stopped")
        answer = await waits.wait_for(
            self._flyd,
            machine,
            wanted,
            version=version,
            from_event_id=query.get("from_event_id", ""),
            timeout_s=waits.timeout_s(query.get("timeout")),
        )
        return JSONResponse(answer)

    async def start(self, request: Request) -> Response:
        machine = self._machine(request)
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
            self._flyd.changed(machine)
            self._flyd.launch(machine)
        return JSONResponse({"previous_state": previous, "migrated": False, "new_host": ""})

    async def stop(self, request: Request) -> Response:
        machine = self._machine(request)
        leases.check(machine, request)
        order = await json_object_or_empty(request, "main.stopRequest")
        self._flyd.stop(machine, _stop_steps(machine, order))
        return JSONResponse(_OK)

    async def restart(self, request: Request) -> Response:
        machine = self._machine(request)
        leases.check(machine, request)
        if machine.state != "started":
            raise precondition(f"unable to restart machine from current state: '{machine.state}'")
        query = request.query_params
        order = {name: query[name] for name in ("signal", "timeout") if name in query}
        self._flyd.restart(machine, _stop_steps(machine, order))
        return JSONResponse(_OK)

    async def signal(self, request: Request) -> Response:
        machine = self._machine(request)
        leases.check(machine, request)
        body = await json_object(request)
        number = _signal_number(body.get("signal"))
        run = self._flyd.run_of(machine)
        if run is None or run.workload is None:
            raise precondition("machine not running")
        await (run.workload.kill() if number == signal.SIGKILL else run.workload.signal(number))
        return JSONResponse(_OK)


def _stop_steps(machine: Machine, order: dict[str, Any]) -> tuple[tuple[int, float], ...]:
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


def _page(
    machines: list[Machine], limit: str | None, cursor: str | None
) -> tuple[list[Machine], dict[str, str]]:
    """One page and, when more is left, the header that says where it goes on."""
    start = 0
    if cursor:
        after = base64.urlsafe_b64decode(cursor.encode()).decode()
        start = next((at + 1 for at, machine in enumerate(machines) if machine.id == after), len(machines))
    if limit is None:
        return machines[start:], {}
    if not limit.isdigit() or not 1 <= int(limit) <= 1000:
        raise invalid("limit must be between 1 and 1000")
    page = machines[start : start + int(limit)]
    if start + int(limit) >= len(machines):
        return page, {}
    return page, {"fly-next-cursor": base64.urlsafe_b64encode(page[-1].id.encode()).decode()}
