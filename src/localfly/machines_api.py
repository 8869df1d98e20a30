"""Routes that make, show, list, change and destroy machines. What they do is `flyd`'s; refusals are here.

Beside them: `running_api` (start, stop, restart, signal), `exec_api`, `metadata_api` (and leases),
`apps_api`, `logs_api`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly import identifiers, leases, machine_config, waits
from localfly.backend import ImageMissing
from localfly.bodies import json_object, whole
from localfly.machine_record import DESTROYABLE, Machine
from localfly.wire import (
    event_json,
    image_ref_json,
    invalid,
    machine_json,
    name_held,
    precondition,
    refused,
    summary_json,
)

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly

_CREATE = {"name": str, "region": str, "lease_ttl": int, "skip_launch": bool}
_UPDATE = {"current_version": str, "skip_launch": bool}
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
        ]

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
        body = await json_object(request, "main.createMachineRequest", _CREATE)
        config = machine_config.checked(body.get("config"))
        region = machine_config.check_region(body.get("region"), self._settings)
        image_ref = await self._image_ref(config["image"])
        name = body.get("name") or identifiers.machine_name()
        ttl_s = body.get("lease_ttl") or 0
        if not 0 <= ttl_s <= leases.LONGEST_S:
            raise invalid(f"invalid lease_ttl '{ttl_s}'")
        holder = self._fly.store.holder_of(app.name, name)
        if holder is not None:
            raise name_held(holder)
        machine = Machine(identifiers.machine_id(), app.name, name, region, config, image_ref)
        machine.launch_due = not body.get("skip_launch")
        nonce = leases.take(machine, ttl_s, "").nonce if ttl_s else ""
        machine.add_event("launch", "pending", "user")
        machine.add_event("launch", "created")
        self._fly.changes.tell(machine)
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
            and not self._fly.unseen(request, machine)
        ]
        page, headers = _page(found, query.get("limit"), query.get("cursor"))
        as_json = summary_json if query.get("summary") == "true" else machine_json
        return JSONResponse([as_json(machine) for machine in page], headers=headers)

    async def get(self, request: Request) -> Response:
        return JSONResponse(machine_json(self._fly.machine(request)))

    async def update(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        body = await json_object(request, "main.updateMachineRequest", _UPDATE)
        config = machine_config.checked(body.get("config"))
        image_ref = await self._image_ref(config["image"])
        leases.check(machine, request)
        if machine.state in ("destroying", "destroyed"):
            raise precondition(f"unable to update machine from current state: '{machine.state}'")
        if body.get("current_version") not in (None, "", machine.instance_id):
            raise refused(409, "aborted: machine update failed due to concurrent update")
        machine.replace_config(config, image_ref)
        self._flyd.replace(machine, skip_launch=bool(body.get("skip_launch")))
        return JSONResponse(machine_json(machine))

    async def destroy(self, request: Request) -> Response:
        machine = self._fly.machine(request)
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
        machine = self._fly.machine(request)
        limit = request.query_params.get("limit", "20")
        return JSONResponse([event_json(event) for event in machine.events[: _limit(limit, 50)]])

    async def versions(self, request: Request) -> Response:
        return JSONResponse(self._fly.machine(request).versions)

    async def wait(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        query = request.query_params
        wanted = waits.wanted_states(query.getlist("state"))
        version = query.get("version") or query.get("instance_id") or ""
        if self._settings.wait_stopped_needs_version and "stopped" in wanted and not version:
            raise invalid("instance_id is required when waiting for stopped")
        answer = await waits.wait_for(
            self._fly.changes,
            machine,
            wanted,
            version=version,
            from_event_id=query.get("from_event_id", ""),
            timeout_s=waits.timeout_s(query.get("timeout")),
            destroyed_answers=self._settings.wait_destroyed_answers,
        )
        return JSONResponse(answer)


def _page(
    machines: list[Machine], limit: str | None, cursor: str | None
) -> tuple[list[Machine], dict[str, str]]:
    """One page and, when more is left, the header that says where it goes on, whatever ends meanwhile."""
    if cursor:
        after = _rank(cursor)
        machines = [machine for machine in machines if machine.rank > after]
    size = len(machines) if limit is None else _limit(limit, 1000)
    if size >= len(machines):
        return machines, {}
    created_at, machine_id = machines[size - 1].rank
    cursor = base64.urlsafe_b64encode(f"{created_at!r} {machine_id}".encode()).decode()
    return machines[:size], {"fly-next-cursor": cursor}


def _rank(cursor: str) -> tuple[float, str]:
    """What `_page` put into a cursor. Raises ApiError for what never was one."""
    try:
        created_at, machine_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        return float(created_at), machine_id
    except ValueError as error:
        raise invalid("invalid cursor") from error


def _limit(text: str, most: int) -> int:
    """Raises ApiError."""
    number = whole(text)
    if number is None or not 1 <= number <= most:
        raise invalid(f"limit must be between 1 and {most}")
    return number
