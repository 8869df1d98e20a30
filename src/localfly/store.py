"""What outlives localfly itself: apps and machines, one JSON file each, replaced atomically.

Log lines are kept by `log_store` beside the machine they belong to.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from localfly import identifiers
from localfly.machine_record import Machine

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class App:
    name: str
    organization: str
    network: str = ""
    id: str = field(default_factory=identifiers.machine_id)
    created_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    deleted: bool = False


class Store:
    """Apps and machines under one directory. A change is on disk before its request is answered."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "apps").mkdir(parents=True, exist_ok=True)
        (directory / "m").mkdir(exist_ok=True)
        self.apps: dict[str, App] = {}
        self.machines: dict[str, Machine] = {}
        for path in sorted((directory / "apps").glob("*.json")):
            app = App(**json.loads(path.read_text()))
            self.apps[app.name] = app
        for path in sorted((directory / "m").glob("*/machine.json")):
            machine = Machine.from_json(json.loads(path.read_text()))
            self.machines[machine.id] = machine

    def save_app(self, app: App) -> None:
        self.apps[app.name] = app
        _replace(self.directory / "apps" / f"{app.name}.json", asdict(app))

    def app(self, name: str) -> App | None:
        app = self.apps.get(name)
        return None if app is None or app.deleted else app

    def machine_directory(self, machine: Machine) -> Path:
        """Where everything of one machine lives; short, because workloads put Unix sockets under it."""
        directory = self.directory / "m" / machine.id
        directory.mkdir(exist_ok=True)
        return directory

    def save(self, machine: Machine) -> None:
        self.machines[machine.id] = machine
        _replace(self.machine_directory(machine) / "machine.json", machine.as_json())

    def holder_of(self, app: str, name: str) -> Machine | None:
        """The live machine of that name; a destroyed one's name is free again."""
        for machine in self.machines.values():
            if (machine.app, machine.name) == (app, name) and not machine.gone and not machine.vanished:
                return machine
        return None

    def remove_disk(self, machine: Machine) -> None:
        """What a backend kept for a destroyed machine is gone; its record and its lines stay."""
        directory = self.machine_directory(machine)
        # Folders may be nested deeper than Python recurses, and than a path may be long.
        subprocess.run(["rm", "-rf", "--", str(directory / "root")], check=False, stderr=subprocess.DEVNULL)
        for name in ("output", "exit.json"):
            (directory / name).unlink(missing_ok=True)


def _replace(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(document))
    temporary.replace(path)
