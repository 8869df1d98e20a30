"""The logs host: `GET /api/v1/apps/{app}/logs`, pages of a hundred lines with a time as cursor.

Undocumented by Fly; the shape is what flyctl reads (fly-go `resource_logs.go`), the paging what
https://fly.io/docs/monitoring/logs-api-options/ and its users tell.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly.bodies import whole
from localfly.exit_events import rfc3339_ns
from localfly.log_store import Line, now_ns
from localfly.machine_record import Machine
from localfly.wire import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from localfly.fly import Fly
    from localfly.settings import Settings

PAGE = 100
DAY_NS = 24 * 3600 * 10**9

_Found = tuple[Line, Machine]


class LogsApi:
    def __init__(self, fly: Fly) -> None:
        self._fly, self._settings = fly, fly.settings

    def routes(self) -> list[Route]:
        return [Route("/api/v1/apps/{app}/logs", self.page, methods=["GET"])]

    async def page(self, request: Request) -> Response:
        app = self._fly.app(request.path_params["app"])
        query = request.query_params
        machines = [
            machine
            for machine in self._fly.store.machines.values()
            if machine.app == app.name
            and query.get("instance", machine.id) == machine.id
            and query.get("region", machine.region) == machine.region
        ]
        token = query.get("next_token", "")
        token_ns = whole(token or "0")
        if token_ns is None or token_ns < 0:
            raise refused(400, "invalid next_token")
        until_ns = now_ns() - int(self._settings.log_lag_s * 1e9)
        found = self._after(machines, token_ns, until_ns) if token else self._newest(machines, until_ns)
        data = [line_json(line, machine) for line, machine in found]
        return JSONResponse({"data": data, "meta": self._meta(found, token)})

    def _newest(self, machines: list[Machine], until_ns: int) -> list[_Found]:
        """The most recent lines of the last day, as a reader without a token gets them."""
        files = [(self._fly.logs.of(machine.id), machine) for machine in machines]
        merged = heapq.merge(
            *([(line, machine) for line in file.newest(PAGE, until_ns)] for file, machine in files), key=_time
        )
        return [found for found in merged if found[0].at_ns > until_ns - DAY_NS][-PAGE:]

    def _after(self, machines: list[Machine], token_ns: int, until_ns: int) -> list[_Found]:
        start_ns = token_ns - 1 if self._settings.log_boundary == "repeat" else token_ns

        def lines(machine: Machine) -> Iterator[_Found]:
            for line in self._fly.logs.of(machine.id).after(start_ns):
                if line.at_ns > until_ns:
                    return
                yield line, machine

        return list(islice(heapq.merge(*map(lines, machines), key=_time), PAGE))

    def _meta(self, found: list[_Found], token: str) -> dict[str, Any]:
        settings: Settings = self._settings
        if not found and settings.log_cursor_when_empty == "omitted":
            return {}
        newest = str(found[-1][0].at_ns) if found else token
        if not newest:
            return {}
        return {"next_token": int(newest) if settings.log_cursor_form == "number" else newest}


def _time(found: _Found) -> int:
    return found[0].at_ns


def line_json(line: Line, machine: Machine) -> dict[str, Any]:
    """One line as JSON:API. There is no telling stdout from stderr: Fly has no such field."""
    return {
        "id": str(line.at_ns),
        "type": "log",
        "attributes": {
            "timestamp": rfc3339_ns(line.at_ns),
            "message": line.message,
            "level": line.level,
            "instance": machine.id,
            "region": machine.region,
            "meta": {
                "instance": machine.id,
                "region": machine.region,
                "event": {"provider": line.provider},
                "http": {"request": {"id": "", "method": "", "version": ""}, "response": {"status_code": 0}},
                "error": {"code": 0, "message": ""},
                "url": {"full": ""},
            },
        },
    }
