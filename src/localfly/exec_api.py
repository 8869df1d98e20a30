"""`POST …/exec`: run a command inside a machine and answer with what it wrote."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfly.backend import ExecResult, Execution, NotRunning, ProgramMissing
from localfly.bodies import json_object
from localfly.wire import invalid, precondition, refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from localfly.fly import Fly
    from localfly.settings import Settings


EXEC_STATES = ("started", "stopping", "restarting")
"""Its program runs: a machine that is told to stop is still up until it has."""


class ExecApi:
    def __init__(self, fly: Fly) -> None:
        self._fly, self._settings = fly, fly.settings

    def routes(self) -> list[Route]:
        return [Route("/v1/apps/{app}/machines/{machine_id}/exec", self.execute, methods=["POST"])]

    async def execute(self, request: Request) -> Response:
        machine = self._fly.machine(request.path_params["app"], request.path_params["machine_id"])
        body = await json_object(request, "main.execRequest")
        execution = self._execution(body)
        timeout_s = body.get("timeout") or self._settings.exec_timeout_default_s
        if not isinstance(timeout_s, int | float) or timeout_s < 0:
            raise invalid("invalid ExecRequest.Timeout")
        run = self._fly.flyd.run_of(machine)
        if run is None or run.workload is None or machine.state not in EXEC_STATES:
            raise precondition("machine not running")
        try:
            async with asyncio.timeout(min(timeout_s, self._settings.exec_timeout_max_s)):
                result = await run.workload.execute(execution)
        except TimeoutError as error:
            raise refused(408, "deadline_exceeded: command did not finish in time") from error
        except ProgramMissing as error:
            raise invalid(f"failed to exec {error}: No such file or directory (os error 2)") from error
        except NotRunning as error:
            raise precondition("machine not running") from error
        return JSONResponse(result_json(result, self._settings))

    def _execution(self, body: dict[str, Any]) -> Execution:
        """`command` is an argument vector; the deprecated `cmd` is split into words, not given to a shell."""
        command = body.get("command") or shlex.split(body.get("cmd") or "")
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            raise invalid("invalid ExecRequest.Command: value must contain at least 1 item(s)")
        stdin = body.get("stdin") or ""
        if not isinstance(stdin, str):
            raise refused(400, "json: cannot unmarshal value into Go struct field stdin of type string")
        data = stdin.encode("utf-8", "surrogateescape")
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
