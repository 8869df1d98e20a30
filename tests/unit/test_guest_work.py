"""The guest's side of a run: how long trouble on the way is borne, and whose clock a time is told by."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.support.pretended import Clock

from flaude_action import guest_files, guest_work, waiting
from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.guest_link import GarbledAnswer, Status
from flaude_action.guest_work import GuestWork
from flaude_guest.protocol import canonical_json, digest

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_action.guest_link import GuestLink
    from flaude_action.waiting import Deadline, Patience

DONE = Status(9, "hold", {}, {"ok": True})


class Link:
    """Answers status calls from a list and takes the rest as said."""

    def __init__(self, *answers: Status | Exception) -> None:
        self.answers = list(answers)
        self.released = False

    async def ready(self) -> Status:
        return Status(0, "waiting", {})

    async def provision(self, job: dict[str, Any]) -> None: ...

    async def status(self, after: int) -> Status:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def release(self) -> None:
        self.released = True


def work(link: Link, folder: Path, patience: Patience | None = None, **limits: float) -> GuestWork:
    return GuestWork(cast("GuestLink", link), {"limits": limits}, folder, lambda _: None, patience)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_work, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(waiting, "PAUSE_S", 0.0)


@pytest.mark.parametrize("status", [0, 200, 408, 409, 412, 429, 502, 503])
async def test_an_outage_of_the_api_does_not_end_the_work(tmp_path: Path, status: int) -> None:
    """The guest works on while Fly cannot carry our questions, so they are asked until they are answered."""
    link = Link(*[FlyAPIError(status, "busy")] * 100, DONE)
    at_work = work(link, tmp_path)
    await at_work.run()
    assert at_work.result == {"ok": True}
    assert link.released


async def test_patience_is_the_runs_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Minutes are waited out, in pauses of seconds, and told once; at the deadline it ends as what it is."""
    clock = Clock()
    monkeypatch.setattr(waiting, "PAUSE_S", 0.25)
    patience = clock.patience(3600)
    await work(Link(*[FlyAPIError(0, "refused")] * 40, DONE), tmp_path, patience).run()
    assert 120 < clock.now < 40 * waiting.LONGEST_PAUSE_S
    asking, again = caplog.messages
    assert asking == "Fly does not answer (no answer); asking on until it does."
    assert again.startswith("Fly answers again, after 1")
    began, patience = clock.now, clock.patience(3600)
    at_work = work(Link(*[FlyAPIError(503, "busy")] * 2000), tmp_path, patience, timeout_s=60.0)
    with pytest.raises(FlyAPIError) as raised:
        await at_work.run()
    assert raised.value.type == "machine_api_unavailable"
    assert clock.now - began == pytest.approx(60 + guest_work.OUTAGE_S)


@pytest.mark.parametrize(
    ("error", "times"), [(FlyAPIError(403, "no"), 20), (GuestError("protocol_mismatch"), 3)]
)
async def test_refusals_are_believed_after_some(tmp_path: Path, error: Exception, times: int) -> None:
    """What does not pass by itself ends the work, but not at its first word."""
    at_work = work(Link(*[error] * (times - 1), DONE), tmp_path)
    await at_work.run()
    assert at_work.result == {"ok": True}
    with pytest.raises(type(error)):
        await work(Link(*[error] * times, DONE), tmp_path).run()


RESULT = {"ok": True, "text": "x" * 70_000}
TEXT = canonical_json(RESULT).encode()


class LinkWithResult(Link):
    """Tells of a large result, and hands out `text` for it."""

    def __init__(self, text: bytes | None, size: int = len(TEXT)) -> None:
        super().__init__(
            Status(9, "hold", {}, result_bytes=size, result_sha256=digest(RESULT).removeprefix("sha256:"))
        )
        self.text = text
        self.asked: list[tuple[str, int, int]] = []
        self.interrupted = False

    async def collect(self, *parts: tuple[str, int, int]) -> list[Any]:
        self.asked += parts
        return [self._part(*part) for part in parts] if self.text is not None else []

    async def interrupt(self, deadline: Deadline) -> Status:
        self.interrupted = True
        [status] = self.answers
        assert isinstance(status, Status)
        return status

    def _part(self, name: str, offset: int, length: int) -> dict[str, Any]:
        data = (self.text or b"")[offset : offset + length]
        told = {"sha256": hashlib.sha256(data).hexdigest(), "data": base64.b64encode(data).decode()}
        return {"name": name, "offset": offset, **told}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_large_result_comes_as_a_file(tmp_path: Path) -> None:
    """In one exec more, and nothing of it stays on the disk."""
    link = LinkWithResult(TEXT)
    at_work = work(link, tmp_path)
    await at_work.run()
    assert at_work.result == RESULT
    assert link.asked == [("result", 0, len(TEXT))]
    assert (names(tmp_path), at_work.files, at_work.problems, link.released) == ([], {}, [], True)


@pytest.mark.parametrize("text", [b"[" * len(TEXT), TEXT.replace(b"true", b"null")], ids=["none", "another"])
async def test_a_large_result_with_another_digest_is_tampered(tmp_path: Path, text: bytes) -> None:
    """Like one that came with the status."""
    at_work = work(LinkWithResult(text), tmp_path)
    await at_work.run()
    await at_work.interrupt(5)
    assert at_work.status is not None
    assert (at_work.result, at_work.status.tampered, at_work.problems) == (None, True, [])


async def test_a_large_result_that_is_no_json_is_tampered(tmp_path: Path) -> None:
    """Although it has the digest that was told; also when a cancel comes after it."""
    link = LinkWithResult(text := b"[" * 20_000)
    sha256 = hashlib.sha256(text).hexdigest()
    link.answers = [Status(9, "hold", {}, result_bytes=len(text), result_sha256=sha256)]
    at_work = work(link, tmp_path)
    await at_work.run()
    await at_work.interrupt(5)
    assert at_work.status is not None
    assert (at_work.result, at_work.status.tampered, at_work.problems) == (None, True, [])


@pytest.mark.parametrize("size", [-1, 10**12])
async def test_a_result_of_an_impossible_size_is_not_fetched(tmp_path: Path, size: int) -> None:
    """Nor waited for."""
    link = LinkWithResult(TEXT, size)
    at_work = work(link, tmp_path)
    await at_work.run()
    assert at_work.status is not None
    assert (link.asked, at_work.result, at_work.status.tampered) == ([], None, True)


async def test_a_large_result_that_does_not_come_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the guest that is lost."""
    monkeypatch.setattr(guest_files, "WRONG_PAUSE_S", 0.0)
    with pytest.raises(GuestError) as raised:
        await work(LinkWithResult(None), tmp_path).run()
    assert raised.value.type == "collect_failed"


async def test_a_status_that_is_cut_each_time_is_not_a_lost_guest(tmp_path: Path) -> None:
    """Fly carries less than any answer has: told as that, with the number."""
    cut = GarbledAnswer("boot_marker_missing", 200)
    with pytest.raises(GuestError) as raised:
        await work(Link(cut, cut, cut), tmp_path).run()
    assert raised.value.type == "collect_failed"
    assert "200 characters" in raised.value.details
    with pytest.raises(GuestError) as raised:
        await work(Link(*[GarbledAnswer("boot_marker_missing")] * 3), tmp_path).run()
    assert raised.value.type == "guest_lost"


async def test_an_interrupt_goes_on_with_a_result_that_is_on_its_way(tmp_path: Path) -> None:
    """Who holds one already has nothing to stop, and what is here of it is not asked for again."""
    link = LinkWithResult(TEXT)
    at_work = work(link, tmp_path)
    hanging, collect = asyncio.Event(), link.collect

    async def halfway(*parts: tuple[str, int, int]) -> list[Any]:
        if parts[0][2] == len(TEXT):
            raise GarbledAnswer("boot_marker_missing", 40_000)
        if parts[0][1] > 0:
            hanging.set()
            await asyncio.sleep(60)
        return await collect(*parts)

    link.collect = halfway  # type: ignore[method-assign]
    running = asyncio.ensure_future(at_work.run())
    await hanging.wait()
    running.cancel()
    link.collect = collect  # type: ignore[method-assign]
    await at_work.interrupt(5)
    assert (at_work.result, at_work.problems, link.interrupted) == (RESULT, [], False)
    assert [offset for _, offset, _ in link.asked].count(0) == 1


def phase(name: str, *spans: tuple[str, float, float | None], result: dict[str, Any] | None = None) -> Status:
    return Status(1, name, {what: [start, end] for what, start, end in spans}, result)


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.0, 3600.0])
async def test_the_machines_clock_is_measured(tmp_path: Path, ahead_s: float) -> None:
    """Each answer tells of a moment that is just past; the nearest one says how the clocks differ."""
    there = time.time() + ahead_s
    at_work = work(
        Link(
            phase("waiting", ("waiting", there - 30, None)),
            phase("agent", ("waiting", there - 30, there - 20), ("agent", there, None)),
            phase("hold", ("agent", there - 9, None), result={"ok": True}),
        ),
        tmp_path,
    )
    await at_work.run()
    assert at_work.clock_behind_s == pytest.approx(-ahead_s, abs=5)


async def test_a_clock_that_nobody_told_is_not_guessed(tmp_path: Path) -> None:
    """Without any time in the answers there is nothing to compare."""
    at_work = work(Link(DONE), tmp_path)
    await at_work.run()
    assert at_work.clock_behind_s is None


@pytest.mark.parametrize(
    ("changeset", "here", "lost"),
    [
        ({"files": 2}, ("patch", "changeset", "transcript"), False),
        ({"files": 2}, ("changeset", "transcript"), True),
        ({"files": 2}, ("patch", "transcript"), True),
        ({"files": 2}, (), True),
        ({"files": 2}, ("patch", "changeset"), False),
        ({"files": 0}, (), False),
        (None, (), False),
    ],
)
def test_work_is_lost_with_any_part_of_it(
    tmp_path: Path, changeset: dict[str, Any] | None, here: tuple[str, ...], lost: bool
) -> None:
    """The patch without the list of what it changes, or the list alone, is not the work."""
    at_work = work(Link(), tmp_path)
    at_work.status = Status(9, "hold", {}, {"ok": True, "changeset": changeset})
    at_work.files = {name: tmp_path / name for name in here}
    assert at_work.lost is lost
