"""The link to the guest: what it sends, what it repeats, and which answers it believes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.pretended import Clock

from flaude_action import guest_link, waiting
from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.guest_link import GarbledAnswer, GuestLink
from flaude_action.waiting import Deadline
from flaude_guest.protocol import PROTOCOL, digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    monkeypatch.setattr(waiting, "PAUSE_S", 0.0)


async def test_provision_sends_the_job_once() -> None:
    """The job is the stdin of one exec, and nothing of it is on the command line."""
    machine = Machine(document(accepted=True, repeated=False))
    await GuestLink(machine, NONCE).provision({"prompt": "p"})
    assert machine.asked == [(["flaude-guest", "provision"], '{"prompt": "p"}')]


async def test_provision_is_repeated_when_its_answer_was_lost() -> None:
    """A lost answer is asked for again; the guest takes a nonce once."""
    machine = Machine(FlyAPIError(0, "cut"), document(accepted=True, repeated=True))
    await GuestLink(machine, NONCE).provision({})
    assert len(machine.asked) == 2


@pytest.mark.parametrize("code", [400, 404, 413])
async def test_provision_is_not_repeated_when_refused(code: int) -> None:
    """A refusal is final."""
    with pytest.raises(FlyAPIError):
        await GuestLink(Machine(FlyAPIError(code, "no")), NONCE).provision({})


@pytest.mark.parametrize("code", [401, 403, 405, 501])
async def test_refused_exec_is_told_before_anything_is_sent(code: int) -> None:
    """The first question holds nothing; when Fly refuses it, that is `machine_exec_refused`."""
    machine = Machine(FlyAPIError(code, "no"))
    with pytest.raises(GuestError) as raised:
        await GuestLink(machine, NONCE).ready()
    assert raised.value.type == "machine_exec_refused"
    assert machine.asked[0][1] == ""


async def test_ready_waits_for_a_booting_machine() -> None:
    """Not running yet, too many requests, a lost answer: asked again until it answers."""
    machine = Machine(FlyAPIError(412, "machine not running"), FlyAPIError(429, ""), status())
    await GuestLink(machine, NONCE).ready()
    assert len(machine.asked) == 3


async def test_ready_gives_up_when_fly_says_no_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing can be run, as Fly itself says, is `boot_marker_missing`."""
    monkeypatch.setattr(guest_link, "READY_S", 0.0)
    with pytest.raises(GuestError) as raised:
        await GuestLink(Machine(FlyAPIError(412, "")), NONCE).ready()
    assert raised.value.type == "boot_marker_missing"


async def test_an_outage_is_not_the_guests_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Fly does not answer it says nothing of the machine: that time does not count, and ends as what
    it is."""
    clock = Clock()
    monkeypatch.setattr(waiting, "PAUSE_S", 1.0)
    patience = clock.patience(600)
    machine = Machine(*[FlyAPIError(0, "refused")] * 40, FlyAPIError(412, ""), status())
    await GuestLink(machine, NONCE, patience).ready()
    assert 120 < clock.now < 600
    assert patience.trouble is None
    with pytest.raises(FlyAPIError) as raised:
        await GuestLink(Machine(*[FlyAPIError(503, "busy")] * 1000), NONCE, patience).ready()
    assert (raised.value.type, patience.trouble) == ("machine_api_unavailable", raised.value)


@pytest.mark.parametrize("code", [409, 412])
async def test_what_nobody_can_be_asked_for_after_the_boot_is_told_and_ends(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine in another's hands is waited for like one that is silent: told once, and not for ever."""
    clock = Clock()
    monkeypatch.setattr(waiting, "PAUSE_S", 0.25)
    patience = clock.patience(3600, most_s=180.0)
    with pytest.raises(FlyAPIError) as raised:
        await GuestLink(Machine(*[FlyAPIError(code, "held")] * 2000), NONCE, patience).provision({})
    assert raised.value.status_code == code
    assert clock.now == pytest.approx(180, abs=waiting.LONGEST_PAUSE_S)
    assert caplog.messages == [f"Fly does not answer (HTTP {code}); asking on until it does."]


@pytest.mark.parametrize("code", [409, 412])
async def test_the_boot_is_no_trouble(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """That nothing runs there yet is what is expected, so the log does not tell of it."""
    await GuestLink(Machine(*[FlyAPIError(code, "starting")] * 20, status()), NONCE).ready()
    assert caplog.messages == []


GARBAGE = ["", "Traceback", '{"protocol": 1, "non', json.dumps({"protocol": 99, "nonce": NONCE})]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("verb", ["ready", "provision", "interrupt"])
async def test_an_answer_that_is_garbled_is_asked_for_again(verb: str, garbage: str) -> None:
    """What somebody on the way spoilt is no word of the guest; what comes three times is believed."""
    good = document(accepted=True) if verb == "provision" else status()
    calls: dict[str, Callable[[GuestLink], Awaitable[object]]] = {
        "ready": lambda link: link.ready(),
        "provision": lambda link: link.provision({}),
        "interrupt": lambda link: link.interrupt(Deadline.after(5)),
    }
    await calls[verb](GuestLink(Machine(garbage, garbage, good), NONCE))
    machine = Machine(garbage, garbage, garbage, good)
    with pytest.raises(GuestError):
        await calls[verb](GuestLink(machine, NONCE))
    assert len(machine.asked) == 3


async def test_a_status_may_be_told_late() -> None:
    """The guest is told how long a mere change of phase can wait for the next call's turn."""

    async def turn() -> float:
        return 0.75

    machine = Machine(status())
    await GuestLink(machine, NONCE, turn=turn).status(3, wait=5)
    assert machine.asked[0][0][1:] == ["status", "--after", "3", "--wait", "5", "--settle", "0.750"]


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


@pytest.mark.parametrize("told", [{}, {"result_bytes": "9"}, {"result_bytes": True}, {"result_digest": None}])
async def test_a_result_that_is_too_large_for_the_answer(told: dict[str, Any]) -> None:
    """Its size and its digest are there in its place; what is neither says that there is no result yet."""
    large = {"result_digest": "sha256:" + "ab" * 32, "result_bytes": 70_000}
    found = await GuestLink(Machine(status(**large | told)), NONCE).status(-1)
    assert (found.result, found.tampered) == (None, False)
    assert found.result_bytes == (0 if told else 70_000)
    assert told or found.result_sha256 == "ab" * 32


async def test_an_answer_that_is_cut_says_where() -> None:
    """At every place, also behind a bracket that closes something in it; what is garbled is not cut."""
    text = json.dumps(status({"ok": True, "text": 'a "quoted" {', "list": [{"a": [1]}, {}]}))
    for length in range(1, len(text)):
        with pytest.raises(GarbledAnswer) as raised:
            await GuestLink(Machine(text[:length]), NONCE).status(-1)
        assert raised.value.cut_at == length
    with pytest.raises(GarbledAnswer) as raised:
        await GuestLink(Machine(text.replace('"ok"', "ok")), NONCE).status(-1)
    assert raised.value.cut_at == 0


async def test_interrupt_is_repeated_as_long_as_there_is_time() -> None:
    """An interrupt that got lost on the way is sent again, but not after its deadline."""
    trouble = FlyAPIError(502, "busy")
    told = await GuestLink(Machine(trouble, status()), NONCE).interrupt(Deadline.after(5))
    assert told.phase == "hold"
    with pytest.raises(FlyAPIError):
        await GuestLink(Machine(trouble, status()), NONCE).interrupt(Deadline.after(0))


async def test_times_that_are_none_are_left_out() -> None:
    """Of the guest's times only those count that a clock can show."""
    odd = {"waiting": [10**19, 5.0], "agent": [6.0, "x"], "fetch": [True, None], "setup": [1], "hold": 7}
    told = await GuestLink(Machine(status(times=odd)), NONCE).status(-1)
    assert told.times == {"waiting": [None, 5.0], "agent": [6.0, None], "fetch": [None, None]}
