"""The guest's verbs over Fly's exec endpoint: provision, status, collect, interrupt, release.

The only road to the machine and back that decides anything; logs are a view. Secrets travel once, on the
stdin of `provision`. What the answers mean for the run is decided in `execution` and `verdict`.
https://fly.io/docs/machines/api/machines-resource/
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.evidence import moment
from flaude_action.fly_errors import may_pass
from flaude_action.json_document import ends_early, json_of
from flaude_action.waiting import Deadline, Patience
from flaude_guest.protocol import GUEST_COMMAND, PROTOCOL, STATUS_WAIT_S, digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EXEC_TIMEOUT_S = 28
"""Fly cuts execs that take longer than about 30 s."""
RETRY_PAUSE_S = 0.25
READY_S = 120.0
"""How long a Fly that answers may say that nothing can be run on the machine yet."""
ANSWER_MARKS_MAX = 100_000
"""Values in an answer of our guest's, whose result may hold a structured output."""
GARBLED = 3
"""So many answers in a row that are none of our guest's are believed."""

_EXEC_REFUSED = (401, 403, 405, 501)
_EXEC_INVALID = (400, 422)
"""Fly may exec but could not: the image has no such program, so our guest is not in it."""
_NOT_YET = (409, 412)
"""Not up yet, or in another's hands."""


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

    `result` is None until the guest has one; `tampered` says that one came whose digest was wrong. A result
    that is too large for this answer has only its size and its sha256 here.
    """

    seq: int
    phase: str
    times: dict[str, list[float | None]]
    result: dict[str, Any] | None = None
    tampered: bool = False
    result_bytes: int = 0
    result_sha256: str = ""


class GarbledAnswer(GuestError):
    """What came is no answer of our guest's: somebody on the way spoilt it, or it is another's.

    `cut_at` is how many bytes came of one that merely ended early, else 0.
    """

    def __init__(self, type: str, cut_at: int = 0, **fields: Any) -> None:  # noqa: A002 - the catalog's word
        self.cut_at = cut_at
        super().__init__(type, **fields)


async def _at_once() -> float:
    return 0.0


class GuestLink:
    """One provisioned guest. Every method raises `FlyAPIError` or `GuestError`.

    Trouble at Fly that may pass is waited out with `patience` until the guest has its job. `turn` waits for a
    status call's turn, and gives the seconds that its answer may take without keeping the next one waiting.
    """

    def __init__(
        self,
        run: Exec,
        nonce: str,
        patience: Patience | None = None,
        turn: Callable[[], Awaitable[float]] = _at_once,
    ) -> None:
        self._run = run
        self._nonce = nonce
        self._patience = patience or Patience()
        self._turn = turn

    async def ready(self) -> Status:
        """Wait until the guest answers, before anything secret leaves; what it said.

        Raises `machine_exec_refused` when Fly will not exec for this token, `boot_marker_missing` when the
        guest's program is not there, or Fly says for too long that nothing runs there yet.
        """
        words = ["status", "--after", "-1", "--wait", "0"]
        try:
            return _status(await self._ask_again(words, self._patience, not_yet_s=READY_S))
        except FlyAPIError as error:
            if error.status_code in _EXEC_REFUSED:
                raise GuestError("machine_exec_refused", dev=error.detail) from error
            if error.status_code in (*_EXEC_INVALID, *_NOT_YET):
                raise GuestError("boot_marker_missing", dev=str(error)) from error
            raise

    async def provision(self, job: dict[str, Any]) -> None:
        """Hand the job over: the one request of a run that holds secrets.

        Repeated only when its answer was lost; the guest starts one job per nonce, once.
        """
        answer = await self._ask_again(["provision"], self._patience, stdin=json.dumps(job))
        if answer.get("accepted") is not True:
            raise GuestError("protocol_mismatch", dev=str(answer)[:500])

    async def status(self, after: int, wait: float = STATUS_WAIT_S) -> Status:
        """The guest's state as soon as it is newer than `after`, or after `wait` seconds (at most 20).

        A result is told at once. A mere change of phase may be told later, so that the calls keep their pace.
        """
        settle = await self._turn()
        command = ["status", "--after", str(after), "--wait", f"{wait:g}"]
        command += ["--settle", f"{settle:.3f}"] if settle else []
        return _status(await self._ask(command, timeout=EXEC_TIMEOUT_S))

    async def interrupt(self, deadline: Deadline) -> Status:
        """Stop the agent now and freeze what is there."""
        return _status(await self._ask_again(["interrupt"], Patience(deadline, quiet=True)))

    async def collect(self, *parts: tuple[str, int, int]) -> list[Any]:
        """Parts of the guest's files, each a name, an offset and a length; what came for them, unchecked."""
        words = [str(word) for part in parts for word in part]
        told = (await self._ask(["collect", *words], timeout=EXEC_TIMEOUT_S)).get("parts")
        return told if isinstance(told, list) else []

    async def release(self) -> None:
        """Let the guest say its last word and exit."""
        await self._ask(["release"], timeout=EXEC_TIMEOUT_S)

    async def _ask_again(
        self, words: list[str], patience: Patience, *, stdin: str = "", not_yet_s: float | None = None
    ) -> dict[str, Any]:
        """Ask as long as it is worth repeating; asking twice does no verb any harm.

        That nothing runs there yet is no trouble for `not_yet_s`.
        """
        garbled, not_yet = 0, Deadline.after(not_yet_s or 0.0)
        while True:
            try:
                timeout = patience.deadline.within(EXEC_TIMEOUT_S)
                answer = await self._ask(words, stdin=stdin, timeout=timeout)
            except GarbledAnswer:
                garbled += 1
                if garbled >= GARBLED or patience.deadline.passed:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)
            except FlyAPIError as error:
                if not_yet_s is not None and error.status_code in _NOT_YET:
                    if not_yet.passed or patience.deadline.passed:
                        raise
                    await asyncio.sleep(RETRY_PAUSE_S)
                    continue
                await wait_out(error, patience)
                not_yet = Deadline.after(not_yet_s or 0.0)  # it said nothing of the machine
            else:
                patience.answered()
                return answer

    async def _ask(self, words: list[str], *, stdin: str = "", timeout: float) -> dict[str, Any]:
        answer = await self._run([GUEST_COMMAND, *words], stdin=stdin, timeout=max(1.0, timeout))
        document = _document(answer.stdout)
        if document is None:
            raise GarbledAnswer(
                "boot_marker_missing",
                len(answer.stdout) if ends_early(answer.stdout) else 0,
                dev=f"exit code {answer.exit_code}: {answer.stdout[:500]}",
            )
        problem = document.get("error")
        if isinstance(problem, dict):
            raise _guest_error(problem)
        if document.get("protocol") != PROTOCOL or document.get("nonce", self._nonce) != self._nonce:
            raise GarbledAnswer("protocol_mismatch")
        return document


async def wait_out(error: FlyAPIError, patience: Patience) -> None:
    """Pause before asking again. Raises the error when that would not help, or patience is at its end."""
    if not waits(error):
        raise error
    await patience.wait_out(error)


def waits(error: FlyAPIError) -> bool:
    """Whether asking again later may help: it is no refusal."""
    return error.status_code in _NOT_YET or (may_pass(error) and error.status_code not in _EXEC_REFUSED)


def _document(text: str) -> dict[str, Any] | None:
    document = json_of(text, marks=ANSWER_MARKS_MAX, fraction=float)
    return document if isinstance(document, dict) else None


def _guest_error(problem: dict[str, Any]) -> GuestError:
    try:
        return GuestError(str(problem.get("type")), dev=str(problem.get("message", ""))[:500])
    except KeyError:
        return GuestError("protocol_mismatch", dev=str(problem)[:500])


def _status(document: dict[str, Any]) -> Status:
    result = document.get("result")
    result = result if isinstance(result, dict) else None
    told, size = document.get("result_digest"), document.get("result_bytes")
    genuine = result is not None and told == digest(result)
    seq, times = document.get("seq"), document.get("times")
    return Status(
        seq=seq if isinstance(seq, int) else 0,
        phase=str(document.get("phase", "")),
        times=_spans(times),
        result=result if genuine else None,
        tampered=result is not None and not genuine,
        result_bytes=size if type(size) is int and result is None and isinstance(told, str) else 0,
        result_sha256=str(told).removeprefix("sha256:"),
    )


def _spans(told: object) -> dict[str, list[float | None]]:
    """`[start, end]` by phase, as far as it is that; an end that has not come yet is None."""
    phases = told.items() if isinstance(told, dict) else ()
    pairs = {name: span for name, span in phases if isinstance(span, list) and len(span) == 2}
    return {name: [moment(start), moment(end)] for name, (start, end) in pairs.items()}
