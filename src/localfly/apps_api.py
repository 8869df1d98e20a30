"""Routes for apps, and what the Machines API tells of the platform: regions and the caller's token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly import identifiers
from localfly.bodies import json_object
from localfly.store import App
from localfly.wire import app_json, invalid, refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly

_PLACES: dict[str, tuple[str, float, float]] = {
    "ams": ("Amsterdam, Netherlands", 52.37, 4.9),
    "arn": ("Stockholm, Sweden", 59.65, 17.92),
    "bom": ("Mumbai, India", 19.1, 72.88),
    "cdg": ("Paris, France", 48.86, 2.35),
    "dfw": ("Dallas, Texas (US)", 32.78, -96.81),
    "ewr": ("Secaucus, NJ (US)", 40.79, -74.06),
    "fra": ("Frankfurt, Germany", 50.1, 8.58),
    "gru": ("Sao Paulo, Brazil", -23.55, -46.63),
    "iad": ("Ashburn, Virginia (US)", 39.02, -77.46),
    "jnb": ("Johannesburg, South Africa", -26.2, 28.05),
    "lax": ("Los Angeles, California (US)", 33.94, -118.41),
    "lhr": ("London, United Kingdom", 51.52, -0.1),
    "nrt": ("Tokyo, Japan", 35.62, 139.75),
    "ord": ("Chicago, Illinois (US)", 41.98, -87.9),
    "sin": ("Singapore, Singapore", 1.3, 103.86),
    "sjc": ("San Jose, California (US)", 37.35, -121.96),
    "syd": ("Sydney, Australia", -33.87, 151.21),
    "yyz": ("Toronto, Canada", 43.68, -79.63),
}


_ORDER = {"name": str, "app_name": str, "org_slug": str, "network": str}


class AppsApi:
    def __init__(self, fly: Fly) -> None:
        self._fly, self._settings = fly, fly.settings

    def routes(self) -> list[Route]:
        return [
            Route("/v1/apps", self.create, methods=["POST"]),
            Route("/v1/apps", self.list_all, methods=["GET"]),
            Route("/v1/apps/{app}", self.get, methods=["GET"]),
            Route("/v1/apps/{app}", self.delete, methods=["DELETE"]),
            Route("/v1/platform/regions", self.regions, methods=["GET"]),
            Route("/v1/tokens/current", self.token, methods=["GET"]),
        ]

    def _json(self, app: App) -> dict[str, Any]:
        live = [machine for machine in self._fly.machines_of(app.name) if not machine.gone]
        return app_json(app, len(live))

    async def create(self, request: Request) -> Response:
        body = await json_object(request, "main.createAppRequest", _ORDER)
        name = body.get("name") or body.get("app_name") or identifiers.machine_name()
        if not identifiers.APP_NAME.match(name):
            text = "Validation failed: Name under 63 chars using numbers, lowercase letters and dashes"
            raise refused(422, text)
        if self._fly.store.app(name) is not None:
            raise refused(422, "Validation failed: Name has already been taken", "name_taken")
        organization = body.get("org_slug") or self._settings.organization
        app = App(name, organization, body.get("network") or "")
        self._fly.store.save_app(app)
        return JSONResponse({"id": app.id, "created_at": app.created_at}, 201)

    async def list_all(self, request: Request) -> Response:
        organization = request.query_params.get("org_slug")
        if not organization:
            raise invalid("org_slug is required")
        apps = [app for app in self._fly.store.apps.values() if not app.deleted]
        found = [self._json(app) for app in apps if app.organization == organization]
        return JSONResponse({"total_apps": len(found), "apps": found})

    async def get(self, request: Request) -> Response:
        return JSONResponse(self._json(self._fly.app(request.path_params["app"])))

    async def delete(self, request: Request) -> Response:
        """An app takes its machines with it."""
        app = self._fly.app(request.path_params["app"])
        for machine in self._fly.machines_of(app.name):
            self._fly.flyd.destroy(machine)
        app.deleted = True
        self._fly.store.save_app(app)
        return Response(status_code=202)

    async def regions(self, _request: Request) -> Response:
        rows = []
        for code in self._settings.regions:
            name, latitude, longitude = _PLACES.get(code, (code, 0.0, 0.0))
            rows.append(
                {
                    "code": code,
                    "name": name,
                    "latitude": latitude,
                    "longitude": longitude,
                    "gateway_available": True,
                    "requires_paid_plan": False,
                    "deprecated": False,
                }
            )
        return JSONResponse({"nearest": self._settings.region, "regions": rows})

    async def token(self, _request: Request) -> Response:
        apps = [app.name for app in self._fly.store.apps.values() if not app.deleted]
        organization = self._settings.organization
        token = {"token_id": "localfly", "organization": organization, "org_slug": organization}
        if self._settings.caller == "deploy":
            return JSONResponse({"tokens": [token | {"apps": apps}]})
        return JSONResponse({"tokens": [token]})
