import asyncio
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaude_action import logs
from flaude_action.errors import FlyAPIError
from flaude_action.fly_models import LogsPage
from flaude_action.log_lines import GuestLines, LogLine, Repeats, parse_entry
from flaude_action.logs import LogFollower, Pace
from flaude_action.waiting import Deadline
from flaude_guest.protocol import event_line, exit_line

if TYPE_CHECKING:
    from flaude_action.fly import Fly

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"
MACHINE = "1857156b526dd8"
PACE = Pace(quick=0.001, quiet=0.003, trouble=0.004, drain=0.06)
PATIENT = Pace(quick=0.001, quiet=0.003, trouble=0.004, drain=10.0)
"""For a log that ends by itself: a busy computer must not cut it short."""
EPOCH = 1_790_000_000
CREATED_AT = "2026-09-21T14:13:20Z"

BOOT = event_line({"seq": 1, "type": "boot"})


def result(lines: int) -> str:
    return event_line({"seq": 9, "type": "result", "ok": True, "lines": lines})


class LogHost:
    """The logs host as observed: pages of 100 in order of time, from a nanosecond cursor on.

    `overlap`: the page begins with the lines of the cursor's own nanosecond, instead of after them. `trouble`
    is raised once each before answering; `polls` are the cursors asked for.
    """

    def __init__(self, *, overlap: bool = False, cursors: bool = True) -> None:
        self.entries: list[tuple[int, dict[str, Any]]] = []
        self.trouble: list[Exception | None] = []
        self.polls: list[str] = []
        self.hang = 0.0
        self._overlap = overlap
        self._cursors = cursors

    def say(self, message: str, *, provider: str = "app", at: int | None = None, **attributes: Any) -> None:
        """Add a line, a microsecond after the last or at nanosecond `at` of our second."""
        nanosecond = EPOCH * 10**9 + (len(self.entries) * 1000 if at is None else at)
        seconds, fraction = divmod(nanosecond, 10**9)
        stamp = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
        fields = {"timestamp": stamp, "message": message, "instance": MACHINE, "level": "info"} | attributes
        fields.setdefault("meta", {"event": {"provider": provider}})
        self.entries.append((nanosecond, {"id": f"id{len(self.entries)}", "attributes": fields}))

    def say_without_id(self, message: str, at: int) -> None:
        self.say(message, at=at)
        del self.entries[-1][1]["id"]

    async def logs_page(self, app: str, instance: str = "", next_token: str = "") -> LogsPage:
        self.polls.append(next_token)
        await asyncio.sleep(self.hang)
        if self.trouble and (error := self.trouble.pop(0)) is not None:
            raise error
        after = int(next_token or 0)
        page = [one for one in self.entries if one[0] > after or (self._overlap and one[0] == after)]
        page = page[:100] if next_token else page[-100:]
        token = str(page[-1][0]) if page else next_token
        body = {"data": [entry for _, entry in page], "meta": {"next_token": token} if self._cursors else {}}
        return LogsPage.parse(json.loads(json.dumps(body)))


def follow(host: LogHost, created_at: str = CREATED_AT, pace: Pace = PACE) -> LogFollower:
    return LogFollower(cast("Fly", host), "app", MACHINE, created_at, pace=pace)


async def read(follower: LogFollower) -> list[str]:
    return [line.message async for line in follower]


async def until(condition: Callable[[], object]) -> None:
    """Let the reader go on until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is in a fake's list
            await asyncio.sleep(0.001)


async def read_to_end(
    host: LogHost, expected: int | None = None, **how: Any
) -> tuple[list[str], LogFollower]:
    """What a follower gives of a run that is already over."""
    follower = follow(host, **how)
    follower.end(expected)
    return await read(follower), follower


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("cursors", [False, True])
async def test_every_line_once_in_order(overlap: bool, cursors: bool) -> None:
    """Over many pages each line comes once and in order, with or without cursors and overlaps."""
    host = LogHost(overlap=overlap, cursors=cursors)
    host.say(BOOT)
    for number in range(548):
        host.say(f"line {number}")
    host.say(result(550))
    lines, follower = await read_to_end(host, 550, pace=PATIENT)
    assert lines == [BOOT, *[f"line {number}" for number in range(548)], result(550)]
    assert follower.complete


async def test_lines_arrive_while_the_run_goes_on() -> None:
    """Lines are given as they come, and reading goes on until the end is told."""
    host = LogHost()
    follower = follow(host)
    seen: list[str] = []

    async def consume() -> None:
        async for line in follower:
            seen.append(line.message)

    reader = asyncio.ensure_future(consume())
    for number in range(3):
        host.say(f"line {number}")
        await until(lambda: len(seen) > number)  # noqa: B023 - awaited in the same turn
    assert seen == ["line 0", "line 1", "line 2"]
    assert not reader.done()
    host.say(BOOT)
    host.say(result(2))
    follower.end(2)
    await asyncio.wait_for(reader, 1)
    assert follower.complete


async def test_cursor_starts_before_the_creation() -> None:
    """The first page is asked from a minute before the machine's creation, so that no first line is lost."""
    host = LogHost()
    await read_to_end(host)
    assert host.polls[0] == str((EPOCH - 60) * 10**9)
    host = LogHost()
    await read_to_end(host, created_at="when it was young")
    assert host.polls[0] == ""


async def test_cursor_goes_back_as_it_came() -> None:
    """The host's cursor is opaque: a text of any form is sent back unchanged."""

    class Opaque(LogHost):
        async def logs_page(self, app: str, instance: str = "", next_token: str = "") -> LogsPage:
            self.polls.append(next_token)
            return LogsPage([], f"opaque/{len(self.polls)}+9007199254740993")

    host = Opaque()
    await read_to_end(host)
    assert host.polls[1:3] == ["opaque/1+9007199254740993", "opaque/2+9007199254740993"]


async def test_refused_cursor_is_dropped() -> None:
    """If Fly does not take the cursor we made up, reading goes on without one."""
    host = LogHost()
    host.trouble = [FlyAPIError(400, "bad token")]
    host.say(BOOT)
    host.say(result(2))
    lines, _ = await read_to_end(host, 2, pace=PATIENT)
    assert lines == [BOOT, result(2)]
    assert host.polls[1] == ""


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_refusal_ends_the_view(status: int) -> None:
    """A token that may not read logs ends the reading quietly; the log is then not complete."""
    host = LogHost()
    host.trouble = [FlyAPIError(status, "no")]
    host.say(BOOT)
    host.say(result(2))
    follower = follow(host)
    assert await asyncio.wait_for(read(follower), 1) == []
    assert follower.refused == f"HTTP {status}"
    assert not follower.complete
    assert len(host.polls) == 1


async def test_trouble_is_waited_out() -> None:
    """Errors of the logs host never raise; the lines come when it is back."""
    host = LogHost()
    host.trouble = [FlyAPIError(500, "x"), FlyAPIError(0, "ReadError"), FlyAPIError(429, "x"), None]
    host.say(BOOT)
    host.say(result(2))
    lines, follower = await read_to_end(host, 2, pace=PATIENT)
    assert lines == [BOOT, result(2)]
    assert len(host.polls) >= 4
    assert follower.complete


async def test_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full pages are followed at once, lines within 0.25 s; without lines polls slow down to one a second."""
    host = LogHost()
    for number in range(250):
        host.say(f"{number}")
    follower = follow(host, pace=Pace(drain=0.0))
    pauses: list[float] = []

    async def recorded(seconds: float, *until: asyncio.Event) -> bool:
        pauses.append(seconds)
        if len(pauses) == 10:
            host.say("another")
        if len(pauses) == 12:
            follower.end()
        return False

    monkeypatch.setattr(logs, "pause", recorded)
    await read(follower)
    assert pauses[:2] == [0.0, 0.0]
    assert 0 < pauses[2] <= 0.25
    assert pauses[2:10] == sorted(pauses[2:10])
    assert pauses[9] == 1.0
    assert pauses[10] == pauses[2]


async def test_end_is_noticed_at_once() -> None:
    """Telling the end cuts a quiet pause short."""
    host = LogHost()
    host.say(BOOT)
    host.say(result(2))
    follower = follow(host, pace=Pace(quick=30.0, quiet=30.0, drain=30.0))
    reader = asyncio.ensure_future(read(follower))
    await until(lambda: host.polls)
    follower.end(2)
    assert await asyncio.wait_for(reader, 1) == [BOOT, result(2)]


async def test_drain_never_takes_longer_than_its_limit() -> None:
    """When lines are missing, the reading ends at its limit, even in the middle of a poll."""
    host = LogHost()
    host.say(BOOT)
    follower = follow(host)
    reader = asyncio.ensure_future(read(follower))
    await until(lambda: len(host.polls) > 1)
    host.hang = 30.0
    await asyncio.sleep(0.01)
    start = asyncio.get_running_loop().time()
    follower.end(7)
    assert await asyncio.wait_for(reader, 5) == [BOOT]
    assert 0.05 <= asyncio.get_running_loop().time() - start < 4
    assert not follower.complete


PATIENT_BUT_FOR_SILENCE = Pace(quick=0.001, quiet=0.003, trouble=0.004, drain=3600.0, silence=0.05)


@pytest.mark.parametrize("stuck", ["quiet", "hanging", "failing"])
async def test_a_decided_run_waits_for_no_silent_log(stuck: str) -> None:
    """Where nothing but the log's last lines is missing, some silence ends it: of lines, or of the host."""
    host = LogHost()
    host.say("work")
    follower = follow(host, pace=PATIENT_BUT_FOR_SILENCE)
    reader = asyncio.ensure_future(read(follower))
    await until(lambda: len(host.polls) > 1)
    host.hang = 3600.0 if stuck == "hanging" else 0.0
    host.trouble = [FlyAPIError(503, "busy")] * 1000 if stuck == "failing" else []
    follower.end(decided=True)
    assert await asyncio.wait_for(reader, 5) == ["work"]
    assert not follower.complete


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the follower's deadlines go by; it passes when a test says so."""
    now = [0.0]
    after = partial(Deadline.after, clock=lambda: now[0])
    monkeypatch.setattr(logs, "Deadline", SimpleNamespace(after=after))
    return now


async def test_new_lines_break_the_silence(clock: list[float]) -> None:
    """Lines are read as long as they come within 3 s of each other, at most for 20 s."""
    host = LogHost()
    follower = follow(host, pace=replace(PACE, drain=20.0, silence=3.0))
    follower.end(decided=True)
    host.say("first")
    seen = []
    async for line in follower:
        seen.append((clock[0], line.message))
        clock[0] += 2.5
        if clock[0] < 10:
            host.say("another")
        else:
            asyncio.get_running_loop().call_soon(clock.__setitem__, 0, 13.0)
    assert seen == [(0.0, "first"), (2.5, "another"), (5.0, "another"), (7.5, "another")]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_line_count_that_is_owed_is_waited_for(clock: list[float], announced: bool) -> None:
    """By the result document or by the result event: then silence means that lines are late."""
    host = LogHost()
    host.say(BOOT)
    if announced:
        host.say(result(3))
    follower = follow(host, pace=replace(PACE, drain=20.0, silence=3.0))
    follower.end(None if announced else 3, decided=True)
    reader = asyncio.ensure_future(read(follower))
    await until(lambda: len(host.polls) > 1)
    clock[0] = 19.0
    polls = len(host.polls)
    await until(lambda: len(host.polls) > polls + 1)
    clock[0] = 20.0
    assert await asyncio.wait_for(reader, 5) == ([BOOT, result(3)] if announced else [BOOT])


@pytest.mark.parametrize(
    ("said", "expected", "complete"),
    [
        ([BOOT, "a", result(3)], 3, True),
        ([BOOT, "a", result(3)], None, True),
        (["init line", BOOT, "a", result(3)], 3, True),
        ([BOOT, result(3)], 3, False),
        (["a", result(3)], 3, False),
        ([BOOT, "a", "b"], 3, False),
        ([BOOT, "two\nlines", result(4)], 4, True),
        ([BOOT, "two\r\nlines\n", result(5)], 5, False),
        ([BOOT, "a", event_line({"seq": 2, "type": "result"})], None, False),
        ([BOOT, "a", "[flaude\\:event:{}]", result(4)], 4, True),
        ([BOOT, "a", result(3), exit_line(0), "init line"], 5, False),
    ],
)
async def test_complete(said: list[str], expected: int | None, complete: bool) -> None:
    """Complete means: as many lines between boot and result as the guest counted."""
    host = LogHost()
    for message in said:
        host.say(message)
    lines, follower = await read_to_end(host, expected, pace=PATIENT if complete else PACE)
    assert lines == said
    assert follower.complete is complete


async def test_a_line_nested_as_deep_as_it_is_long_is_a_line() -> None:
    """Whoever prints such an event line, as anyone may in an image that is not ours, breaks nothing."""
    host = LogHost()
    host.say('[flaude:event:{"a":' + "[" * 990 + "}]")
    host.say("machine exited with exit code 0, not restarting", provider="runner")
    lines, _ = await read_to_end(host, None, pace=PATIENT)
    assert len(lines) == 2


async def test_platform_lines_are_given_but_not_counted() -> None:
    """Lines of the platform come with their provider and fill no gap in the guest's."""
    host = LogHost()
    host.say("Pulling image", provider="runner")
    host.say(BOOT)
    host.say("machine exited with exit code 0, not restarting", provider="runner")
    host.say(result(3))
    follower = follow(host)
    follower.end(3)
    lines = [line async for line in follower]
    assert [line.provider for line in lines] == ["runner", "app", "runner", "app"]
    assert not follower.complete


async def test_lines_of_other_machines_are_left_out() -> None:
    """A host that ignores our filter does not put another run's lines into ours."""
    host = LogHost()
    host.say(BOOT)
    host.say("theirs", instance="e286551c305868")
    host.say("nobody's", instance="")
    host.say(result(3))
    lines, follower = await read_to_end(host, 3)
    assert lines == [BOOT, "nobody's", result(3)]
    assert follower.complete


@pytest.mark.parametrize(
    ("messages", "complete"),
    [
        (["work", "machine exited with exit code 3, not restarting"], True),
        (["work", "machine exited with exit code 3, restarting", "again"], False),
        (["work", exit_line(0)], False),
    ],
)
async def test_a_foreign_image(messages: list[str], complete: bool) -> None:
    """Without our guest, the log is complete when the platform's last word came and nothing after it."""
    host = LogHost()
    for message in messages:
        host.say(message, provider="runner" if message.startswith("machine") else "app")
    patient = Pace(quick=0.001, quiet=0.003, drain=5.0 if complete else 0.05)
    start = asyncio.get_running_loop().time()
    lines, follower = await read_to_end(host, pace=patient)
    assert lines == messages
    assert follower.complete is complete
    assert (asyncio.get_running_loop().time() - start >= patient.drain) is not complete
    _, unknown_start = await read_to_end(host, created_at="")
    assert not unknown_start.complete


async def test_equal_lines_without_ids_are_all_kept() -> None:
    """Equal lines in the same nanosecond are different lines; only what a page repeats is dropped."""
    host = LogHost(overlap=True)
    for _ in range(3):
        host.say_without_id("", at=5)
    follower = follow(host)
    reader = asyncio.ensure_future(read(follower))
    await until(lambda: len(host.polls) > 3)
    host.say_without_id("", at=5)
    host.say_without_id("x", at=6)
    polls = len(host.polls)
    await until(lambda: len(host.polls) > polls + 2)
    follower.end()
    assert await reader == ["", "", "", "", "x"]


def line(message: str, identity: str = "", timestamp: str = "t") -> LogLine:
    return LogLine(timestamp, message, "app", "info", MACHINE, "cdg", identity)


def test_a_line_with_an_id_comes_once() -> None:
    """The same entry twice, in one page or in two, is one line; the same id on another line is not."""
    repeats = Repeats()
    assert len(repeats.drop([line("a", "1"), line("a", "1"), line("b", "1")])) == 2
    assert repeats.drop([line("a", "1"), line("c", "2")]) == [line("c", "2")]


def test_repeats_are_remembered_long_enough_and_no_longer() -> None:
    """Repeats are found among the newest lines, and what is kept does not grow."""
    repeats = Repeats(remembered=100)
    for start in range(0, 5000, 50):
        page = [line(str(number)) for number in range(start, start + 50)]
        assert repeats.drop(page) == page
        assert repeats.drop(page) == []
    assert len(repeats._new) + len(repeats._old) <= 300


async def test_memory_stays_flat() -> None:
    """Reading many times the lines takes no more memory."""

    class Endless(LogHost):
        async def logs_page(self, app: str, instance: str = "", next_token: str = "") -> LogsPage:
            start = len(self.polls) * 100
            self.polls.append("")
            entries = [
                {"attributes": {"timestamp": str(number), "message": f"line {number} " + "x" * 200}}
                for number in range(start, start + 100)
            ]
            return LogsPage(entries, str(start))

    follower = follow(Endless())
    peaks = []
    tracemalloc.start()
    try:
        count = 0
        async for page in follower.pages():
            count += len(page)
            if count in (6_000, 40_000):
                peaks.append(tracemalloc.get_traced_memory()[1])
            if count == 40_000:
                break
    finally:
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_recorded_page() -> None:
    """The one page of the logs host that was published."""
    page = LogsPage.parse(json.loads((FIXTURES / "insforge-logs-page.json").read_text("utf-8")))
    assert parse_entry(page.entries[0]) == LogLine(
        "2026-06-04T21:25:05.000Z", "hello from container", "", "", "machine-123", "iad", ""
    )


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "attributes", "timestamp", "message", "meta", "event", "provider", "instance", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JUNK)
def test_any_entry_is_a_line_or_nothing(entry: object) -> None:
    """Junk in a page never raises, whatever it is counted as."""
    found = parse_entry(entry)
    if found is not None:
        assert all(isinstance(field, str) for field in found)
        GuestLines().see(found)


@given(st.lists(JUNK, max_size=5), st.text(max_size=20))
@settings(max_examples=50)
async def test_any_page_is_survived(entries: list[Any], created_at: str) -> None:
    """A follower reads any page to its end without raising."""

    class Junk(LogHost):
        async def logs_page(self, app: str, instance: str = "", next_token: str = "") -> LogsPage:
            return LogsPage(entries, "")

    follower = follow(Junk(), created_at, Pace(drain=0.0))
    follower.end()
    assert isinstance(await read(follower), list)
