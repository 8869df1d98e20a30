"""The library: run Claude Code on a machine of its own and get the result, as one call or line by line.

Names and signatures are flaude's where flaude has them. The engine is `execution`, the value a call gives
`run_result`; the GitHub step on top of it all is `action`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaude_action import __version__
from flaude_action.errors import ConfigError, FlyAPIError
from flaude_action.execution import Execution
from flaude_action.fly import Fly, base_urls
from flaude_action.machine import run_digest
from flaude_action.outcome import Errand, Outcome, Watcher
from flaude_action.run_result import RunResult
from flaude_action.waiting import Deadline
from flaude_guest.protocol import last_exit_marker

if TYPE_CHECKING:
    from types import TracebackType

    from flaude_action.fly import SecretText
    from flaude_action.fly_models import App
    from flaude_action.logs import LogLine
    from flaude_action.machine import Machine
    from flaude_action.machine_config import MachineConfig

LOGS_KEPT = 10_000
"""The newest lines of a run that a result or an exception carries."""
LINES_AHEAD = 10_000
"""Lines read ahead of a slow consumer. Then reading the log waits for it (the run itself does not), until
`result()` is asked for: from then on the oldest unread lines are dropped."""
APP_VISIBLE_S = 60.0


@dataclass(frozen=True)
class Start:
    """What one call of the library asks for."""

    app: str
    config: MachineConfig
    name: str
    token: str = field(repr=False)
    wait_timeout: float


class StreamingRun:
    """A run in progress: iterate it for log lines, await `result()` for the end.

    As an async context manager it guarantees that the machine is destroyed when the block is left, also
    early. Lines are the workload's own, without Fly's; they are untrusted text.
    """

    def __init__(self, start: Start) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(LINES_AHEAD)
        self._kept: deque[str] = deque(maxlen=LOGS_KEPT)
        self._machine: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._result_wanted = False
        self._task = asyncio.ensure_future(self._run(start))

    @property
    def machine_id(self) -> str:
        """Fly's id of the machine."""
        return self._machine.result()

    @property
    def done(self) -> bool:
        """True when the run is over and its machine destroyed."""
        return self._task.done()

    @property
    def collected_logs(self) -> list[str]:
        """The newest lines so far, at most 10,000."""
        return list(self._kept)

    def __aiter__(self) -> StreamingRun:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
            raise StopAsyncIteration
        return line

    async def __aenter__(self) -> StreamingRun:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cleanup()

    async def result(self, *, raise_on_failure: bool = True) -> RunResult:
        """Wait for the end.

        Raises MachineExitError, MachineTimeout (a TimeoutError) or another FlaudeError when the run failed,
        unless `raise_on_failure` is False: then the RunResult tells.
        """
        self._result_wanted = True
        if self._lines.full():
            self._lines.get_nowait()  # wakes a reader that waits for room
        outcome, result = await asyncio.shield(self._task)
        failure = outcome.failure(list(self._kept))
        if failure is not None and raise_on_failure:
            raise failure
        return result

    async def cleanup(self) -> None:
        """End the run if it is still going and wait until its machine is destroyed."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def created(self) -> None:
        """Return when the machine exists; raise what kept it from existing."""
        either: set[asyncio.Future[Any]] = {self._machine, self._task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._machine.done():
            await self._task

    def _see_machine(self, machine: Machine) -> None:
        if not self._machine.done():
            self._machine.set_result(machine.id)

    async def _see_lines(self, page: list[LogLine]) -> None:
        for line in page:
            if line.provider not in ("app", ""):
                continue
            self._kept.append(line.message)
            if not self._result_wanted:
                await self._lines.put(line.message)
                continue
            while self._lines.full():
                self._lines.get_nowait()
            self._lines.put_nowait(line.message)

    async def _run(self, start: Start) -> tuple[Outcome, RunResult]:
        try:
            with tempfile.TemporaryDirectory(prefix="flaude-") as folder:
                outcome = await self._execute(start, Path(folder))
                return outcome, RunResult.of(outcome, tuple(self._kept))
        finally:
            while self._lines.full():
                self._lines.get_nowait()
            self._lines.put_nowait(None)

    async def _execute(self, start: Start, folder: Path) -> Outcome:
        flaps, api = base_urls(os.environ)
        agent = f"flaude-action/{__version__}"
        async with Fly(start.token, flaps_url=flaps, api_url=api, user_agent=agent) as fly:
            # A library call belongs to no workflow run: every call is its own.
            errand = Errand(
                start.app, run_digest(uuid.uuid4()), folder, name=start.name, wait_timeout=start.wait_timeout
            )
            execution = Execution(
                fly,
                start.config,
                errand,
                watcher=Watcher(created=self._see_machine, lines=self._see_lines),
            )
            return await execution.run()


async def run_with_logs(
    app_name: str,
    config: MachineConfig,
    *,
    name: str | None = None,
    token: str | SecretText | None = None,
    wait_timeout: float = 3600.0,
) -> StreamingRun:
    """Start a run and return as soon as its machine exists.

    `token` defaults to `FLY_API_TOKEN`; `wait_timeout` is in seconds, from now to the machine's end. Raises
    ConfigError before any request, FlyAPIError when no machine came to be.
    """
    config.check()
    run = StreamingRun(Start(app_name, config, name or "", _token(token), wait_timeout))
    try:
        await run.created()
    except asyncio.CancelledError:
        await run.cleanup()
        raise
    return run


async def run_and_destroy(
    app_name: str,
    config: MachineConfig,
    *,
    name: str | None = None,
    token: str | SecretText | None = None,
    wait_timeout: float = 3600.0,
    raise_on_failure: bool = True,
) -> RunResult:
    """Run to the end; the machine is destroyed whatever happens, also when the calling task is cancelled.

    Raises as `StreamingRun.result` and `run_with_logs` do.
    """
    run = await run_with_logs(app_name, config, name=name, token=token, wait_timeout=wait_timeout)
    async with run:
        return await run.result(raise_on_failure=raise_on_failure)


async def ensure_app(app_name: str, *, org: str = "personal", token: str | SecretText | None = None) -> App:
    """The app, created in `org` with a private network of its own when it does not exist yet.

    Raises FlyAPIError, also when the name belongs to an organisation the token cannot see.
    """
    flaps, api = base_urls(os.environ)
    async with Fly(_token(token), flaps_url=flaps, api_url=api) as fly:
        try:
            return await fly.get_app(app_name)
        except FlyAPIError as error:
            if error.status_code != 404:
                raise
        await fly.create_app(app_name, org, network=app_name)
        return await _once_visible(fly, app_name)


def extract_exit_code_from_logs(logs: list[str]) -> int | None:
    """The code of the last `[flaude:exit:N]` in the lines, None without one. Anyone can print the marker."""
    return last_exit_marker(logs)


async def _once_visible(fly: Fly, app_name: str) -> App:
    """A new app may answer 404 or 401 for a while (fly-go waits up to a minute)."""
    deadline = Deadline.after(APP_VISIBLE_S)
    while True:
        try:
            return await fly.get_app(app_name)
        except FlyAPIError as error:
            if error.status_code not in (401, 404) or deadline.passed:
                raise
        await asyncio.sleep(0.5)


def _token(given: str | SecretText | None) -> str:
    token = given if isinstance(given, str) else given.get_secret_value() if given is not None else ""
    token = token or os.environ.get("FLY_API_TOKEN", "")
    if not token:
        raise ConfigError("secret_missing", "No Fly token: pass token= or set FLY_API_TOKEN.")
    return token
