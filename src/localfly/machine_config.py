"""A machine's configuration as the API takes it: what is refused, filled in, and meant for a launch.

Limits: https://fly.io/docs/machines/guides-examples/machine-sizing/. Members that localfly cannot honour
are refused aloud instead of being ignored.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from localfly.backend import Launch
from localfly.bodies import MAP, TEXTS, Shape, check
from localfly.wire import invalid, refused

if TYPE_CHECKING:
    from pathlib import Path

    from localfly.machine_record import Machine
    from localfly.settings import Settings

StopSteps = tuple[tuple[int, float], ...]
"""Signals, and the seconds to wait after each; SIGKILL follows."""

_UNSUPPORTED: Final = ("mounts", "files", "processes", "containers", "standbys", "schedule", "statics")
_POLICIES: Final = ("", "no", "always", "on-failure", "spot-price")
_STOP_SIGNALS: Final = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


_SHAPE: Final[Shape] = {
    "image": str,
    "env": MAP,
    "metadata": MAP,
    "auto_destroy": bool,
    "init": {"exec": TEXTS, "entrypoint": TEXTS, "cmd": TEXTS},
    "guest": {"cpu_kind": str, "cpus": int, "memory_mb": int},
    "restart": {"policy": str, "max_retries": int},
    "stop_config": {"signal": str},
}


@dataclass(frozen=True)
class _Kind:
    """What one kind of CPU allows; memory in MiB per CPU, which is also the step it comes in."""

    least: int
    most: int
    cpus: tuple[int, ...]


_KINDS: Final = {
    "shared": _Kind(256, 2048, (1, 2, 4, 6, 8)),
    "performance": _Kind(2048, 8192, (1, 2, 4, 6, 8, 10, 12, 14, 16)),
}


def checked(config: Any) -> dict[str, Any]:
    """The configuration with Fly's defaults filled in. Raises ApiError as Fly refuses it."""
    if config is None:
        raise invalid("config is required")
    check(config, _SHAPE, "MachineConfig.config")
    if not config.get("image"):
        raise invalid("config.image is required")
    for member in _UNSUPPORTED:
        if config.get(member):
            raise invalid(f"config.{member}: localfly has none of these")
    parts = ("init", "guest", "restart", "stop_config")
    init, guest, restart, stop = (config.get(part) or {} for part in parts)
    if (restart.get("policy") or "") not in _POLICIES:
        raise invalid(f"invalid restart policy '{restart['policy']}'")
    stop_steps(stop)
    filled: dict[str, Any] = config | {"init": init, "guest": _checked_guest(guest), "restart": restart}
    return filled


def check_region(region: object, settings: Settings) -> str:
    """The region to use. Raises ApiError for one that does not exist (400) or is full (422)."""
    if not region:
        region = settings.region
    if not isinstance(region, str) or region not in settings.regions:
        raise invalid(f"region '{region}' not found")
    if region in settings.full_regions:
        raise refused(422, "could not find a candidate host", "insufficient_capacity")
    return region


def _checked_guest(guest: dict[str, Any]) -> dict[str, Any]:
    kind = guest.get("cpu_kind") or "shared"
    limits = _KINDS.get(kind)
    if limits is None:
        raise invalid(f"invalid config.guest.cpu_kind, '{kind}'")
    cpus = guest.get("cpus") or 1
    if cpus not in limits.cpus:
        raise invalid(f"invalid config.guest.cpus, {cpus} is not available for {kind} CPUs")
    least, most = limits.least * cpus, limits.most * cpus
    memory_mb = guest.get("memory_mb") or least
    if not least <= memory_mb <= most or memory_mb % limits.least:
        raise invalid(
            f"invalid config.guest.memory_mb, {memory_mb} MiB: {cpus} {kind} CPUs take {least} to {most} MiB"
            f" in steps of {limits.least}"
        )
    return guest | {"cpu_kind": kind, "cpus": cpus, "memory_mb": memory_mb}


def duration_s(value: object) -> float:
    """A Go duration ("10s", "1m30s"), or a bare number of nanoseconds, in seconds. Raises ApiError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value / 1e9
    if isinstance(value, str):
        parts = _DURATION_PART.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    raise refused(400, f'time: missing unit in duration "{value}"')


def stop_steps(stop: dict[str, Any]) -> StopSteps:
    """`{signal, timeout}` as signals and the seconds to wait after each; SIGKILL follows. Raises ApiError."""
    name = stop.get("signal") or ""
    if name and name not in _STOP_SIGNALS:
        raise invalid(f"invalid signal '{name}'")
    if not name and stop.get("timeout") is None:
        return ((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0))
    patience_s = 5.0 if stop.get("timeout") is None else duration_s(stop["timeout"])
    return ((signal.Signals[name or "SIGINT"], patience_s),)


def launch(machine: Machine, directory: Path) -> Launch:
    """What a backend needs to know to run this version of the machine."""
    config = machine.config
    init = config.get("init") or {}
    whole = init.get("exec")
    guest = config["guest"]
    env = {
        "FLY_APP_NAME": machine.app,
        "FLY_MACHINE_ID": machine.id,
        "FLY_ALLOC_ID": machine.id,
        "FLY_MACHINE_VERSION": machine.instance_id,
        "FLY_REGION": machine.region,
        "FLY_IMAGE_REF": config["image"],
        "FLY_PRIVATE_IP": machine.private_ip,
        "FLY_VM_MEMORY_MB": str(guest["memory_mb"]),
    }
    return Launch(
        machine_id=machine.id,
        app=machine.app,
        image=config["image"],
        directory=directory,
        env=env | (config.get("env") or {}),
        entrypoint=whole or init.get("entrypoint"),
        cmd=[] if whole else init.get("cmd"),
        memory_mb=guest["memory_mb"],
        cpus=guest["cpus"],
    )
