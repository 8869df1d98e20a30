"""`POST …/exec`: run a command inside a machine and answer with what it wrote."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly.backend import ExecResult, Execution, NotRunning, ProgramMissing
from localfly.bodies import TEXTS, Shape, json_object
from localfly.wire import invalid, precondition, refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly
    from localfly.settings import Settings


_ORDER: dict[str, Shape] = {"command": TEXTS, "cmd": str, "stdin": str, "timeout": float}
EXEC_STATES = ("started", "stopping", "restarting")
"""Its program runs: a machine that is told to stop is still up until it has."""


class ExecApi:
    def __init__(self, fly: Fly) -> None:
        self._fly, self._settings = fly, fly.settings

    def routes(self) -> list[Route]:
        return [Route("/v1/apps/{app}/machines/{machine_id}/exec", self.execute, methods=["POST"])]

    async def execute(self, request: Request) -> Response:
        machine = self._fly.machine(request)
        body = await json_object(request, "main.execRequest", _ORDER)
        execution = self._execution(body)
        timeout_s = body.get("timeout") or self._settings.exec_timeout_default_s
        if timeout_s < 0:
            raise invalid("invalid ExecRequest.Timeout")
        workload = self._fly.flyd.workload_of(machine)
        if workload is None or machine.state not in EXEC_STATES:
            raise precondition("machine not running")
        try:
            async with asyncio.timeout(min(timeout_s, self._settings.exec_timeout_max_s)):
                result = await workload.execute(execution)
        except TimeoutError as error:
            raise refused(408, "deadline_exceeded: command did not finish in time") from error
        except ProgramMissing as error:
            raise invalid(f"failed to exec {error}: No such file or directory (os error 2)") from error
        except NotRunning as error:
            raise precondition("machine not running") from error
        return JSONResponse(result_json(result, self._settings))

    def _execution(self, body: dict[str, Any]) -> Execution:
        """`command` is an argument vector; the deprecated `cmd` is split into words, not given to a shell."""
        try:
            command = body.get("command") or shlex.split(body.get("cmd") or "")
        except ValueError as error:
            raise invalid(f"invalid ExecRequest.Cmd: {error}") from error
        if not command:
            raise invalid("invalid ExecRequest.Command: value must contain at least 1 item(s)")
        if any("\0" in word for word in command):
            raise invalid("invalid ExecRequest.Command: a word holds a NUL byte")
        data = (body.get("stdin") or "").encode()
        most = self._settings.exec_stdin_max_bytes
        if len(data) > most:
            raise refused(413, f"stdin of {len(data)} bytes is larger than {most}")
        return Execution(command, data, self._settings.exec_as_root, self._settings.exec_output_max_bytes)


def result_json(result: ExecResult, settings: Settings) -> dict[str, Any]:
    document: dict[str, Any] = {
        "stdout": result.stdout.decode("utf-8", "replace"),
        "stderr": result.stderr.decode("utf-8", "replace"),
        "exit_code": result.exit_code,
        "exit_signal": result.signal,
    }
    if settings.exec_exit_code_zero == "omitted":
        document = {key: value for key, value in document.items() if value not in (0, "") or key == "stdout"}
    return document
