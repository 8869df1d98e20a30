"""The guest's verbs over Fly's exec endpoint: provision, status, collect, interrupt, release.

The only road to the machine and back that decides anything; logs are a view. Secrets travel once, on the
stdin of `provision`. What the answers mean for the run is decided in `execution` and `verdict`.
https://fly.io/docs/machines/api/machines-resource/
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.evidence import moment
from flaude_action.fly_errors import may_pass
from flaude_action.json_document import json_of
from flaude_action.waiting import Deadline
from flaude_guest.protocol import COLLECT_CHUNK_BYTES, GUEST_COMMAND, PROTOCOL, STATUS_WAIT_S, digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXEC_TIMEOUT_S = 28
"""Fly cuts execs that take longer than about 30 s."""
RETRY_PAUSE_S = 0.25
CHUNK_S = 30.0
"""How long one part of a file is asked for again while the platform is in trouble."""

_EXEC_REFUSED = (401, 403, 405, 501)
_EXEC_INVALID = (400, 422)
"""Fly may exec but could not: the image has no such program, so our guest is not in it."""


class ExecAnswer(Protocol):
    """What an exec gave back (Fly omits `exit_code` when it is 0; the client has put that right)."""

    @property
    def stdout(self) -> str: ...
    @property
    def exit_code(self) -> int | None: ...


class Exec(Protocol):
    """Run one command on the machine, as root, without a shell."""

    async def __call__(self, command: list[str], *, stdin: str = "", timeout: float) -> ExecAnswer: ...


@dataclass(frozen=True)
class Status:
    """The guest's phase and, once there is one, its result.

    `result` is None until the guest has one; `tampered` says that one came whose digest was wrong.
    """

    seq: int
    phase: str
    times: dict[str, list[float | None]]
    result: dict[str, Any] | None = None
    tampered: bool = False


class GuestLink:
    """One provisioned guest. Every method raises `FlyAPIError` or `GuestError`."""

    def __init__(self, run: Exec, nonce: str) -> None:
        self._run = run
        self._nonce = nonce

    async def ready(self, deadline: Deadline) -> None:
        """Wait until the guest answers, before anything secret leaves.

        Raises `machine_exec_refused` when Fly will not exec for this token, `boot_marker_missing` when the
        guest's program is not there or nobody answers before the deadline.
        """
        while True:
            try:
                await self.status(after=-1, wait=0)
                return
            except FlyAPIError as error:
                if error.status_code in _EXEC_REFUSED:
                    raise GuestError("machine_exec_refused", dev=error.detail) from error
                if error.status_code in _EXEC_INVALID:
                    raise GuestError("boot_marker_missing", dev=str(error)) from error
                if not _worth_repeating(error):
                    raise
                if deadline.passed:
                    raise GuestError("boot_marker_missing", dev=str(error)) from error
            await asyncio.sleep(RETRY_PAUSE_S)

    async def provision(self, job: dict[str, Any], deadline: Deadline) -> None:
        """Hand the job over: the one request of a run that holds secrets.

        Repeated only when its answer was lost; the guest starts one job per nonce, once.
        """
        answer = await self._ask_again(["provision"], deadline, stdin=json.dumps(job))
        if answer.get("accepted") is not True:
            raise GuestError("protocol_mismatch", dev=str(answer)[:500])

    async def status(self, after: int, wait: float = STATUS_WAIT_S) -> Status:
        """The guest's state as soon as it is newer than `after`, or after `wait` seconds (at most 20)."""
        command = ["status", "--after", str(after), "--wait", f"{wait:g}"]
        return _status(await self._ask(command, timeout=EXEC_TIMEOUT_S))

    async def interrupt(self, deadline: Deadline) -> Status:
        """Stop the agent now and freeze what is there."""
        return _status(await self._ask_again(["interrupt"], deadline))

    async def collect(self, name: str, size: int, sha256: str) -> AsyncIterator[bytes]:
        """The bytes of one of the guest's files, checked against the digest that the result document gave.

        Raises GuestError `collect_failed` at the end when size or digest differ.
        """
        seen, offset = hashlib.sha256(), 0
        while offset < size:
            length = min(COLLECT_CHUNK_BYTES, size - offset)
            words = ["collect", name, str(offset), str(length)]
            answer = await self._ask_again(words, Deadline.after(CHUNK_S))
            data = _bytes_of(answer, length)
            seen.update(data)
            offset += len(data)
            yield data
        if seen.hexdigest() != sha256:
            raise GuestError("collect_failed", details=f"The file {name!r} did not arrive whole.")

    async def release(self) -> None:
        """Let the guest say its last word and exit."""
        await self._ask(["release"], timeout=EXEC_TIMEOUT_S)

    async def _ask_again(self, words: list[str], deadline: Deadline, *, stdin: str = "") -> dict[str, Any]:
        """Ask until the deadline as long as it is worth repeating; asking twice does no verb any harm."""
        while True:
            try:
                return await self._ask(words, stdin=stdin, timeout=deadline.within(EXEC_TIMEOUT_S))
            except FlyAPIError as error:
                if deadline.passed or not _worth_repeating(error):
                    raise
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _ask(self, words: list[str], *, stdin: str = "", timeout: float) -> dict[str, Any]:
        answer = await self._run([GUEST_COMMAND, *words], stdin=stdin, timeout=max(1.0, timeout))
        document = _document(answer.stdout)
        if document is None:
            raise GuestError(
                "boot_marker_missing", dev=f"exit code {answer.exit_code}: {answer.stdout[:500]}"
            )
        problem = document.get("error")
        if isinstance(problem, dict):
            raise _guest_error(problem)
        if document.get("protocol") != PROTOCOL or document.get("nonce", self._nonce) != self._nonce:
            raise GuestError("protocol_mismatch")
        return document


def _worth_repeating(error: FlyAPIError) -> bool:
    """Not up yet, too slow, too many, or the platform's own trouble: the nonce makes a repeat harmless."""
    return may_pass(error) or error.status_code in (409, 412)


def _document(text: str) -> dict[str, Any] | None:
    document = json_of(text, fraction=float)
    return document if isinstance(document, dict) else None


def _guest_error(problem: dict[str, Any]) -> GuestError:
    try:
        return GuestError(str(problem.get("type")), dev=str(problem.get("message", ""))[:500])
    except KeyError:
        return GuestError("protocol_mismatch", dev=str(problem)[:500])


def _status(document: dict[str, Any]) -> Status:
    result = document.get("result")
    result = result if isinstance(result, dict) else None
    genuine = result is not None and document.get("result_digest") == digest(result)
    seq, times = document.get("seq"), document.get("times")
    return Status(
        seq=seq if isinstance(seq, int) else 0,
        phase=str(document.get("phase", "")),
        times=_spans(times),
        result=result if genuine else None,
        tampered=result is not None and not genuine,
    )


def _spans(told: object) -> dict[str, list[float | None]]:
    """`[start, end]` by phase, as far as it is that; an end that has not come yet is None."""
    phases = told.items() if isinstance(told, dict) else ()
    pairs = {name: span for name, span in phases if isinstance(span, list) and len(span) == 2}
    return {name: [moment(start), moment(end)] for name, (start, end) in pairs.items()}


def _bytes_of(answer: dict[str, Any], limit: int) -> bytes:
    try:
        data = base64.b64decode(str(answer.get("data", "")), validate=True)
    except ValueError as error:
        raise GuestError("collect_failed", details="A chunk was not readable.") from error
    if not data or len(data) > limit:
        raise GuestError("collect_failed", details="A chunk had the wrong length.")
    return data
