"""Into a machine's log: what the platform says around a workload, and the workload's own lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localfly.log_store import Line, LogStore, now_ns

if TYPE_CHECKING:
    from localfly.backend import Sink
    from localfly.machine_record import Machine
    from localfly.settings import Settings


class MachineLines:
    """The writers of log files, following the settings about lines."""

    def __init__(self, logs: LogStore, settings: Settings) -> None:
        self._logs, self._settings = logs, settings

    def say(self, machine: Machine, provider: str, message: str) -> None:
        """A line of the platform's own, unless the setting keeps them out."""
        if self._settings.platform_lines:
            file = self._logs.of(machine.id)
            file.append(Line(now_ns(), message, provider, "info"), self._settings.log_timestamp_step_ns)
            file.flush()

    def sink(self, machine: Machine) -> Sink:
        """Where a workload of the machine puts its lines; too long ones are cut into pieces."""
        file, settings = self._logs.of(machine.id), self._settings

        def sink(line: bytes, cursor: int, at_ns: int | None) -> None:
            longest = settings.log_line_max_bytes
            for start in range(0, max(len(line), 1), longest):
                text = line[start : start + longest].decode("utf-8", "replace")
                piece = Line(at_ns or now_ns(), text, "app", "info", cursor)
                file.append(piece, settings.log_timestamp_step_ns)

        return sink

    def cursor(self, machine: Machine) -> int:
        """The workload's own position after the last line that was told."""
        return self._logs.of(machine.id).cursor

    def flush(self, machine: Machine) -> None:
        self._logs.of(machine.id).flush()

    def close(self, machine: Machine) -> None:
        """No more lines are expected; the file can still be read."""
        self._logs.of(machine.id).close()
