"""The seam between Fly's bookkeeping and what really runs: a backend turns a machine into a workload.

`process_backend` runs process trees, `docker_backend` containers. The ladder of states is in `flyd`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

Sink = Callable[[bytes, int, int | None], None]
"""Takes one line of the workload without its line end, the workload's own cursor after it, and the time it
was written in ns since the epoch (None: now)."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BackendUnavailable(Exception):
    """What machines need is not on this computer, or not free."""


class LaunchFailed(Exception):
    """The machine cannot be started; the text is for its log."""


class ImageMissing(LaunchFailed):
    """No such image where the backend looks."""


class ProgramMissing(Exception):
    """The command of an exec is no program of the machine."""


class NotRunning(Exception):
    """The workload ended before the command could run, or while it ran."""


@dataclass(frozen=True)
class Image:
    """`reference` is what the backend starts; `digest` is `sha256:…` or empty."""

    reference: str
    digest: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Launch:
    """One launch of one machine. `directory` is private to the machine and survives its launches."""

    machine_id: str
    app: str
    image: str
    directory: Path
    env: dict[str, str]
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    memory_mb: int = 256
    cpus: int = 1


@dataclass(frozen=True)
class Exit:
    """How a workload ended. `exit_code` as a shell sees it (128+n for signal n); `signal` None if none."""

    exit_code: int
    signal: int | None = None
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True)
class Execution:
    """One command to run inside a machine; `output_max_bytes` holds for stdout and stderr each."""

    command: list[str]
    stdin: bytes
    as_root: bool
    output_max_bytes: int


@dataclass(frozen=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes
    signal: int = 0


class Workload(Protocol):
    """Something that runs now, or did."""

    @property
    def handle(self) -> dict[str, Any]:
        """A JSON note from which `Backend.attach` finds the workload again."""

    async def ended(self) -> Exit:
        """Wait for the end. All output has reached the sink when this returns."""

    async def signal(self, number: int) -> None:
        """Send a signal to the main process; nothing happens when it is gone."""

    async def kill(self) -> None:
        """SIGKILL to everything of the workload. `ended` tells when it is over."""

    async def execute(self, execution: Execution) -> ExecResult:
        """Run a command beside the main process; cancelling this kills the command.

        Raises ProgramMissing, NotRunning.
        """

    async def remove(self) -> None:
        """Give back what an ended workload still occupies."""


class Backend(Protocol):
    async def image(self, reference: str) -> Image:
        """Look an image up. Raises ImageMissing."""

    async def start(self, launch: Launch, sink: Sink) -> Workload:
        """Run a machine's program; its lines go to `sink`, none is lost. Raises LaunchFailed."""

    async def attach(
        self, handle: dict[str, Any], launch: Launch, sink: Sink, cursor: int
    ) -> Workload | None:
        """Find what an earlier localfly started and go on after line `cursor`; None: no trace of it."""

    async def close(self) -> None:
        """Let go of connections; workloads are not touched."""
