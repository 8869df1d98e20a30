"""Routes for a machine's metadata and lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly import leases
from localfly.bodies import MAP, check, json_object, json_object_or_empty, whole
from localfly.wire import invalid, precondition, refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly
    from localfly.machine_record import Machine


class MetadataApi:
    def __init__(self, fly: Fly) -> None:
        self._fly = fly

    def routes(self) -> list[Route]:
        machine = "/v1/apps/{app}/machines/{machine_id}"
        return [
            Route(machine + "/metadata", self.get_all, methods=["GET"]),
            Route(machine + "/metadata", self.merge, methods=["PATCH", "PUT"]),
            Route(machine + "/metadata/{key}", self.get, methods=["GET"]),
            Route(machine + "/metadata/{key}", self.set, methods=["POST"]),
            Route(machine + "/metadata/{key}", self.delete, methods=["DELETE"]),
            Route(machine + "/lease", self.lease, methods=["GET"]),
            Route(machine + "/lease", self.take_lease, methods=["POST"]),
            Route(machine + "/lease", self.release_lease, methods=["DELETE"]),
        ]

    def _store(self, machine: Machine, metadata: dict[str, Any]) -> Response:
        """Null and empty values remove a key."""
        kept = {key: value for key, value in metadata.items() if value not in (None, "")}
        machine.config = machine.config | {"metadata": kept}
        machine.updated_at = time.time()
        self._fly.changes.tell(machine)
        return Response(status_code=204)

    async def get_all(self, request: Request) -> Response:
        return JSONResponse(self._fly.machine(request).metadata)

    async def get(self, request: Request) -> Response:
        value = self._fly.machine(request).metadata.get(request.path_params["key"])
        if value is None:
            raise refused(404, "metadata key not found")
        return JSONResponse({"value": value})

    async def set(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        body = await json_object(request, "main.upsertMetadataKeyRequest", {"value": str})
        if body.get("value") is None:
            raise invalid("value is required")
        return self._store(machine, machine.metadata | {request.path_params["key"]: body["value"]})

    async def delete(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        return self._store(machine, machine.metadata | {request.path_params["key"]: None})

    async def merge(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        order = {"metadata": dict, "machine_version": str}
        body = await json_object(request, "main.updateMetadataRequest", order)
        changes = body.get("metadata")
        if changes is None:
            raise invalid("metadata is required")
        given = {key: value for key, value in changes.items() if value is not None}
        check(given, MAP, "updateMetadataRequest.metadata")
        if body.get("machine_version") not in (None, "", machine.instance_id):
            raise precondition("machine version mismatch")
        return self._store(machine, machine.metadata | changes)

    async def lease(self, request: Request) -> Response:
        lease = leases.current(self._fly.machine(request))
        if lease is None:
            raise refused(404, "lease not found")
        return JSONResponse(_enveloped(leases.as_json(lease, self._fly.machine(request).instance_id)))

    async def take_lease(self, request: Request) -> Response:
        """Take a free lease, or refresh one's own."""
        machine = self._fly.machine(request)
        leases.check(machine, request)
        order = {"ttl": int, "description": str}
        body = await json_object_or_empty(request, "main.createLeaseRequest", order)
        ttl = body.get("ttl") or request.query_params.get("ttl", "60")
        ttl_s = whole(str(ttl))
        if ttl_s is None or not 0 < ttl_s <= leases.LONGEST_S:
            raise invalid(f"invalid ttl '{ttl}'")
        lease = leases.take(machine, ttl_s, body.get("description") or "")
        self._fly.changes.tell(machine)
        return JSONResponse(_enveloped(leases.as_json(lease, machine.instance_id)), 201)

    async def release_lease(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        leases.check(machine, request)
        machine.lease = None
        self._fly.changes.tell(machine)
        return JSONResponse(_enveloped({"ok": True}))


def _enveloped(data: dict[str, Any]) -> dict[str, Any]:
    """Leases alone come in an envelope, whatever the OpenAPI document says."""
    return {"status": "success", "data": data}
