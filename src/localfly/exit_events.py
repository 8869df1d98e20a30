"""How Fly tells that a machine ended: the exit event in each recorded shape, and the lines around it.

Sources: fly-go `machine_types.go` (keys), the recorded events of 2022 and 2026, flyctl's log output.
"""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localfly.backend import Exit


def exit_request(
    end: Exit, shape: str, *, requested_stop: bool, restarting: bool, restart_count: int
) -> tuple[str, dict[str, Any]] | None:
    """The event's type and `request` for one of the shapes of setting `exit_event_shape`; None for `none`."""
    if shape == "none":
        return None
    if shape == "crash":
        return _bare(end)
    now_ns = time.time_ns()
    event: dict[str, Any] = {
        "exited_at": now_ns // 1_000_000 if shape == "millis" else rfc3339_ns(now_ns),
        "requested_stop": requested_stop,
        "restarting": restarting,
        "oom_killed": end.oom_killed,
        "exit_code": end.exit_code,
        "guest_exit_code": 0,
        "guest_signal": -1,
        "signal": end.signal or -1,
    }
    if shape == "explicit":
        event |= {"guest_error": "", "error": end.error}
    if shape in ("omitted_zeros", "monitor"):
        event = {key: value for key, value in event.items() if value not in (0, False, "")}
    if shape == "monitor":
        return "exit", {"MonitorEvent": {"exit_event": event}}
    return "exit", {"exit_event": event, "restart_count": restart_count}


def _bare(end: Exit) -> tuple[str, dict[str, Any]]:
    """As measured in July 2026: no zeros at all, and whatever died of a signal is a crash of the guest."""
    if end.signal is None and not end.oom_killed:
        return "exit", {"exit_event": {"exit_code": end.exit_code} if end.exit_code else {}}
    event: dict[str, Any] = {"exit_code": -1, "guest_signal": end.signal or 9}
    if end.oom_killed:
        event["oom_killed"] = True
    return "crash", {"exit_event": event}


def init_lines(end: Exit) -> list[str]:
    """What init says, under provider `app`, when the main process is gone."""
    if end.signal is None:
        first = f" INFO Main child exited normally with code: {end.exit_code}"
    else:
        name = signal.Signals(end.signal).name
        first = f" INFO Main child exited with signal (with signal '{name}', core dumped? false)"
    lines = [first, " INFO Starting clean up."]
    if end.oom_killed:
        lines.append("Process appears to have been OOM killed!")
    return [*lines, "[    2.314159] reboot: Restarting system"]


def runner_line(end: Exit, *, restarting: bool) -> str:
    return f"machine exited with exit code {end.exit_code}, {'' if restarting else 'not '}restarting"


def rfc3339_ns(at_ns: int) -> str:
    """Nine digits after the point: log cursors are nanoseconds, and a float would lose some."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def rfc3339_s(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
