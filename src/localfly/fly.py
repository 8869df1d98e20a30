"""One Fly: everything the routes need, in one value."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localfly import identifiers
from localfly.gate import AFFINITY_COOKIE
from localfly.wire import app_not_found, invalid, machine_not_found

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.faults import Faults
    from localfly.flyd import Flyd
    from localfly.log_store import LogStore
    from localfly.machine_changes import MachineChanges
    from localfly.machine_record import Machine
    from localfly.requests_seen import RequestsSeen
    from localfly.settings import Settings
    from localfly.store import App, Store


@dataclass
class Fly:
    settings: Settings
    store: Store
    logs: LogStore
    changes: MachineChanges
    flyd: Flyd
    faults: Faults
    requests_seen: RequestsSeen

    def app(self, name: str) -> App:
        """Raises ApiError 404."""
        app = self.store.app(name)
        if app is None:
            raise app_not_found()
        return app

    def machine(self, request: Request) -> Machine:
        """The machine of a request's path. Raises ApiError: 404, or 400 for what is no machine id."""
        app, machine_id = (request.path_params[name] for name in ("app", "machine_id"))
        self.app(app)
        if not identifiers.is_machine_id(machine_id):
            raise invalid(f"invalid machine ID, '{machine_id}'")
        machine = self.store.machines.get(machine_id)
        retention_s = self.settings.destroyed_retention_s
        if machine is None or machine.app != app or not machine.visible(retention_s):
            raise machine_not_found()
        if self.unseen(request, machine):
            raise machine_not_found()
        return machine

    def unseen(self, request: Request, machine: Machine) -> bool:
        """Whether the machine is too young for a caller without the affinity cookie."""
        young = time.time() - machine.created_at < self.settings.stale_reads_s
        return young and AFFINITY_COOKIE not in request.cookies

    def machines_of(self, app: str) -> list[Machine]:
        """All machines of an app that still answer, oldest first."""
        retention_s = self.settings.destroyed_retention_s
        machines = sorted(self.store.machines.values(), key=lambda machine: machine.rank)
        return [machine for machine in machines if machine.app == app and machine.visible(retention_s)]
