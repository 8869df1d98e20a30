"""A run in progress as the library's caller sees it: its lines as they come, its end, and a way to end it.

How a run is asked for is `run`'s; the engine is `execution`.
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
from flaude_action.credential_forms import fly_forms
from flaude_action.env_credentials import credential_parts
from flaude_action.errors import RunCancelled
from flaude_action.execution import Execution
from flaude_action.fly import Fly
from flaude_action.fly_access import base_urls
from flaude_action.launch import run_digest
from flaude_action.outcome import Errand, Outcome, Watcher
from flaude_action.redaction import Redactor
from flaude_action.run_result import RunResult

if TYPE_CHECKING:
    from types import TracebackType

    from flaude_action.log_lines import LogLine
    from flaude_action.machine import Machine
    from flaude_action.machine_config import MachineConfig

LOGS_KEPT = 10_000
"""The newest lines of a run that a result or an exception carries."""
LINES_AHEAD = 10_000
"""Lines read ahead of a slow consumer. Then reading the log waits for it (the machine does not), until
`result()` is asked for: from then on the oldest unread lines are dropped."""


@dataclass(frozen=True)
class Start:
    """What one call of the library asks for."""

    app: str
    config: MachineConfig
    name: str
    token: str = field(repr=False)
    wait_timeout: float


class Backlog:
    """Lines on their way from the log to a reader: in order, and at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: deque[str] = deque()
        self._room, self._news = asyncio.Event(), asyncio.Event()
        self._dropping = self._closed = False

    async def put(self, line: str) -> None:
        """Waits for room; once unread lines may be dropped, the oldest makes it."""
        while len(self._lines) >= self._most and not self._dropping:
            self._room.clear()
            await self._room.wait()
        if len(self._lines) >= self._most:
            self._lines.popleft()
        self._lines.append(line)
        self._news.set()

    async def next(self) -> str | None:
        """The oldest line; None when there are no more to come."""
        while not self._lines:
            if self._closed:
                return None
            self._news.clear()
            await self._news.wait()
        self._room.set()
        return self._lines.popleft()

    def drop_unread(self) -> None:
        """From now on nobody is waited for."""
        self._dropping = True
        self._room.set()

    def close(self) -> None:
        """No line comes any more; those that are here can still be read."""
        self._closed = True
        self._news.set()


class StreamingRun:
    """A run in progress: iterate it for log lines, await `result()` for the end.

    As an async context manager it guarantees that the machine is destroyed when the block is left, also
    early. Lines are the workload's own, without Fly's; they are untrusted text.
    """

    def __init__(self, start: Start) -> None:
        self._lines = Backlog(LINES_AHEAD)
        self._kept: deque[str] = deque(maxlen=LOGS_KEPT)
        self._machine: Machine | None = None
        self._created = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(start))

    @property
    def machine_id(self) -> str:
        """Fly's id of the machine."""
        return self._machine.id if self._machine is not None else ""

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
        line = await self._lines.next()
        if line is None:
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
        unless `raise_on_failure` is False: then the RunResult tells. Raises RunCancelled when it was ended by
        `cleanup`, as by leaving the block.
        """
        self._lines.drop_unread()
        try:
            outcome, result = await asyncio.shield(self._task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._task.cancelled() and not (caller is not None and caller.cancelling()):
                raise RunCancelled("cancelled") from None
            raise
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
        exists = asyncio.ensure_future(self._created.wait())
        either: set[asyncio.Future[Any]] = {exists, self._task}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            exists.cancel()
        if self._machine is None:
            await self._task

    def _see_machine(self, machine: Machine) -> None:
        self._machine = machine
        self._created.set()

    async def _see_lines(self, page: list[LogLine]) -> None:
        for line in page:
            if line.provider in ("app", ""):
                self._kept.append(line.message)
                await self._lines.put(line.message)

    async def _run(self, start: Start) -> tuple[Outcome, RunResult]:
        try:
            with tempfile.TemporaryDirectory(prefix="flaude-") as folder:
                outcome = await self._execute(start, Path(folder))
                return outcome, RunResult.of(outcome, tuple(self._kept))
        finally:
            self._lines.close()

    async def _execute(self, start: Start, folder: Path) -> Outcome:
        flaps, api = base_urls(os.environ)
        agent = f"flaude-action/{__version__}"
        secrets = (*fly_forms(start.token), *start.config.secrets())
        proof = Redactor((part for each in secrets for part in (each, *credential_parts(each))), lines=False)
        async with Fly(start.token, flaps_url=flaps, api_url=api, user_agent=agent) as fly:
            # A library call belongs to no workflow run: every call is its own.
            errand = Errand(
                start.app,
                run_digest(uuid.uuid4()),
                folder,
                name=start.name,
                wait_timeout=start.wait_timeout,
                holds_secret=proof.found_in,
            )
            execution = Execution(
                fly,
                start.config,
                errand,
                watcher=Watcher(created=self._see_machine, lines=self._see_lines),
            )
            return await execution.run()
