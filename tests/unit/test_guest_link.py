"""The link to the guest: what it sends, what it repeats, and which answers it believes."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from flaude_action import guest_link
from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.guest_link import GuestLink
from flaude_action.waiting import Deadline
from flaude_guest.protocol import PROTOCOL, digest

if TYPE_CHECKING:
    from collections.abc import Callable

NONCE = "0123456789abcdef"


@dataclass
class Answer:
    stdout: str
    exit_code: int | None = 0


class Machine:
    """Answers execs from a list: a document, raw text, or an error to raise."""

    def __init__(self, *answers: dict[str, Any] | str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[list[str], str]] = []

    async def __call__(self, command: list[str], *, stdin: str = "", timeout: float) -> Answer:
        self.asked.append((command, stdin))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer if isinstance(answer, str) else json.dumps(answer))


def document(**members: Any) -> dict[str, Any]:
    return {"protocol": PROTOCOL, "nonce": NONCE, **members}


def status(result: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    told = {"seq": 3, "phase": "hold", "times": {}, "result": result}
    return document(**(told | {"result_digest": digest(result) if result else None} | members))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_link, "RETRY_PAUSE_S", 0.0)


async def test_provision_sends_the_job_once() -> None:
    """The job is the stdin of one exec, and nothing of it is on the command line."""
    machine = Machine(document(accepted=True, repeated=False))
    await GuestLink(machine, NONCE).provision({"prompt": "p"}, Deadline.after(5))
    assert machine.asked == [(["flaude-guest", "provision"], '{"prompt": "p"}')]


async def test_provision_is_repeated_when_its_answer_was_lost() -> None:
    """A lost answer is asked for again; the guest takes a nonce once."""
    machine = Machine(FlyAPIError(0, "cut"), document(accepted=True, repeated=True))
    await GuestLink(machine, NONCE).provision({}, Deadline.after(5))
    assert len(machine.asked) == 2


@pytest.mark.parametrize("code", [400, 404, 413])
async def test_provision_is_not_repeated_when_refused(code: int) -> None:
    """A refusal is final."""
    with pytest.raises(FlyAPIError):
        await GuestLink(Machine(FlyAPIError(code, "no")), NONCE).provision({}, Deadline.after(5))


@pytest.mark.parametrize("code", [401, 403, 405, 501])
async def test_refused_exec_is_told_before_anything_is_sent(code: int) -> None:
    """The first question holds nothing; when Fly refuses it, that is `machine_exec_refused`."""
    machine = Machine(FlyAPIError(code, "no"))
    with pytest.raises(GuestError) as raised:
        await GuestLink(machine, NONCE).ready(Deadline.after(5))
    assert raised.value.type == "machine_exec_refused"
    assert machine.asked[0][1] == ""


async def test_ready_waits_for_a_booting_machine() -> None:
    """Not running yet, too many requests, a lost answer: asked again until it answers."""
    machine = Machine(FlyAPIError(412, "machine not running"), FlyAPIError(429, ""), status())
    await GuestLink(machine, NONCE).ready(Deadline.after(5))
    assert len(machine.asked) == 3


async def test_ready_gives_up_at_its_deadline() -> None:
    """A guest that never answers is `boot_marker_missing`."""
    with pytest.raises(GuestError) as raised:
        await GuestLink(Machine(FlyAPIError(412, "")), NONCE).ready(Deadline.after(0))
    assert raised.value.type == "boot_marker_missing"


async def test_result_with_the_right_digest_is_believed() -> None:
    """The result document comes through when its digest is right."""
    told = await GuestLink(Machine(status({"ok": True})), NONCE).status(-1)
    assert (told.result, told.tampered) == ({"ok": True}, False)


@pytest.mark.parametrize("wrong", [None, "", "sha256:0", 7])
async def test_result_with_another_digest_is_tampered(wrong: object) -> None:
    """A result whose digest differs is told of, and not passed on."""
    told = await GuestLink(Machine(status({"ok": True}, result_digest=wrong)), NONCE).status(-1)
    assert (told.result, told.tampered) == (None, True)


@pytest.mark.parametrize(
    ("answer", "error_type"),
    [
        ("", "boot_marker_missing"),
        ("no json", "boot_marker_missing"),
        ("[1]", "boot_marker_missing"),
        (json.dumps({"protocol": 99, "nonce": NONCE}), "protocol_mismatch"),
        (json.dumps({"protocol": PROTOCOL, "nonce": "another"}), "protocol_mismatch"),
        (json.dumps({"error": {"type": "protocol_mismatch", "message": "m"}}), "protocol_mismatch"),
        (json.dumps({"error": {"type": "not in the catalog"}}), "protocol_mismatch"),
        ("[" * 100_000, "boot_marker_missing"),
    ],
)
async def test_odd_answers_are_refused(answer: str, error_type: str) -> None:
    """What is no answer of our guest, to our nonce, in our protocol, is a typed error."""
    with pytest.raises(GuestError) as raised:
        await GuestLink(Machine(answer), NONCE).status(-1)
    assert raised.value.type == error_type


async def collected(link: GuestLink, size: int, sha256: str) -> bytes:
    return b"".join([chunk async for chunk in link.collect("patch", size, sha256)])


def chunks(data: bytes, length: int) -> list[dict[str, Any]]:
    cut = [data[start : start + length] for start in range(0, len(data), length)]
    return [document(data=base64.b64encode(part).decode()) for part in cut]


async def test_collect_joins_chunks() -> None:
    """A file of several chunks arrives whole."""
    data = bytes(range(256)) * 2000
    machine = Machine(*chunks(data, guest_link.COLLECT_CHUNK_BYTES))
    got = await collected(GuestLink(machine, NONCE), len(data), hashlib.sha256(data).hexdigest())
    assert got == data
    assert machine.asked[0][0][2:] == ["patch", "0", "196608"]


@pytest.mark.parametrize("code", [0, 408, 412, 429, 502])
async def test_collect_asks_again_for_a_part_that_got_lost(code: int) -> None:
    """The work of a whole run does not hang on one answer."""
    data = b"12345"
    machine = Machine(FlyAPIError(code, "busy"), *chunks(data, 5))
    assert await collected(GuestLink(machine, NONCE), 5, hashlib.sha256(data).hexdigest()) == data


async def test_interrupt_is_repeated_as_long_as_there_is_time() -> None:
    """An interrupt that got lost on the way is sent again, but not after its deadline."""
    trouble = FlyAPIError(502, "busy")
    told = await GuestLink(Machine(trouble, status()), NONCE).interrupt(Deadline.after(5))
    assert told.phase == "hold"
    with pytest.raises(FlyAPIError):
        await GuestLink(Machine(trouble, status()), NONCE).interrupt(Deadline.after(0))


async def test_times_that_are_none_are_left_out() -> None:
    """Of the guest's times only those count that a clock can show."""
    odd = {"waiting": [10**400, 5.0], "agent": [6.0, "x"], "fetch": [True, None], "setup": [1], "hold": 7}
    told = await GuestLink(Machine(status(times=odd)), NONCE).status(-1)
    assert told.times == {"waiting": [None, 5.0], "agent": [6.0, None], "fetch": [None, None]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: document(data=base64.b64encode(b"other").decode()),
        lambda data: document(data=""),
        lambda data: document(data="%%%"),
        lambda data: document(data=base64.b64encode(data + b"x").decode()),
    ],
)
async def test_collect_refuses_what_differs(spoil: Callable[[bytes], dict[str, Any]]) -> None:
    """Wrong bytes, none, no base64 or too many: `collect_failed`."""
    data = b"12345"
    with pytest.raises(GuestError) as raised:
        await collected(GuestLink(Machine(spoil(data)), NONCE), len(data), hashlib.sha256(data).hexdigest())
    assert raised.value.type == "collect_failed"
