"""The guest's control socket: callers that stay, logs that block, a machine at its limits."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.guest import job

from flaude_guest import clock, control, protocol, verbs
from flaude_guest.control import Control
from flaude_guest.job import Limits
from flaude_guest.output import Output
from flaude_guest.places import Places
from flaude_guest.record import Record, Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


RESULT: dict[str, Any] = {"ok": True}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    names = ("RUN", "STATE", "WORK")
    environ = {f"FLAUDE_{name}_DIR": str(tmp_path / name) for name in names} | {"FLAUDE_HOME": str(tmp_path)}
    found = Places.of(environ | {"PATH": os.environ["PATH"]}, isolated=False)
    found.run.mkdir()
    return found


@pytest.fixture
def record() -> Record:
    return Record("n" * 16, Output(os.open(os.devnull, os.O_WRONLY)), Wake())


def test_calls_are_answered_without_threads(
    places: Places, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A work that leaves no process to start leaves the guest's answers: one call at a time."""
    Control(places, record).start()

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    for _ in range(2):
        with verbs.connect(str(places.run), 1.0) as connection, connection.makefile("rb") as answers:
            connection.settimeout(5)
            request = {"args": ["status", "--after", "-1", "--wait", "0"], "stdin": ""}
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = json.load(answers)
        assert (answer["code"], answer["document"]["phase"]) == (0, "waiting")


def test_a_job_that_comes_too_late_is_refused(places: Places, record: Record) -> None:
    """Once the guest has given up waiting no job is accepted: it would never be done."""
    verbs_ = Control(places, record)
    verbs_.start()
    assert record.close()
    refused, _ = verbs_.answer(["provision"], json.dumps({**job(), "nonce": record.nonce}))
    assert (refused["code"], refused["document"]["error"]["type"]) == (2, "boot_marker_missing")
    assert record.job is None


def test_a_job_taken_in_the_last_moment_keeps_the_window_open(places: Places, record: Record) -> None:
    """A guest that has accepted a job does not give up waiting, and takes the same job again."""
    verbs_ = Control(places, record)
    verbs_.start()
    document = json.dumps({**job(), "nonce": record.nonce})
    answers = [verbs_.answer(["provision"], document)[0]["document"] for _ in range(2)]
    assert [answer["repeated"] for answer in answers] == [False, True]
    assert not record.close()


def test_a_client_that_stays_is_released_all_the_same(
    places: Places, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once told that it is released the guest goes, however long its caller takes to hang up."""
    monkeypatch.setattr(control, "GOODBYE_S", 0.1)
    record.finish(RESULT)
    Control(places, record).start()
    with released(places):
        assert _within(5, lambda: record.released)


def test_the_caller_goes_first(places: Places, record: Record) -> None:
    """The guest stays until the verb's process has ended: the platform would report it as killed."""
    record.finish(RESULT)
    Control(places, record).start()
    with released(places):
        time.sleep(control.EXEC_REPORT_S + 0.4)
        assert not record.released
    assert _within(5, lambda: record.released)


@contextlib.contextmanager
def released(places: Places) -> Iterator[None]:
    """A verb's process that has its answer to `release` and is still there."""
    with verbs.connect(str(places.run), 1.0) as connection:
        connection.settimeout(5)
        connection.sendall(json.dumps({"args": ["release"], "stdin": ""}).encode())
        connection.shutdown(socket.SHUT_WR)
        assert b'"released": true' in connection.recv(65536)
        yield


def _within(seconds: float, met: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(0.02)
    return met()


def test_a_log_nobody_reads_does_not_silence_the_verbs(places: Places) -> None:
    """The log is a view: a result can be fetched while the line that tells of it cannot be written."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    record = Record("n" * 16, Output(writer), Wake())
    journey = threading.Thread(target=record.finish, args=(RESULT,), daemon=True)
    journey.start()
    asked: list[dict[str, Any]] = []
    verb = threading.Thread(target=lambda: asked.append(record.status(-1, 0)), daemon=True)
    time.sleep(0.1)
    verb.start()
    verb.join(2)
    os.close(reader)
    journey.join(5)
    os.close(writer)
    assert [status["result"]["ok"] for status in asked] == [True]


def finished(places: Places, record: Record, **files: bytes) -> Control:
    """A guest that holds these files."""
    places.state.mkdir(exist_ok=True)
    for name, data in files.items():
        (places.state / name).write_bytes(data)
    verbs_ = Control(places, record)
    verbs_.start()
    told = {name: {"size": len(data), "sha256": "0" * 64} for name, data in files.items()}
    record.finish({"ok": True, "files": told})
    return verbs_


def test_one_collect_carries_parts_of_several_files(places: Places, record: Record) -> None:
    """In the order they were asked for, each under its own digest; the answer bears the nonce."""
    verbs_ = finished(places, record, patch=b"0123456789", changeset=b"abc")
    answer, _ = verbs_.answer(["collect", "patch", "4", "3", "changeset", "0", "3"], "")
    document = answer["document"]
    assert (document["protocol"], document["nonce"]) == (1, record.nonce)
    expected = [("patch", 4, 10, False, b"456"), ("changeset", 0, 3, True, b"abc")]
    got = [
        (one["name"], one["offset"], one["size"], one["eof"], base64.b64decode(one["data"]))
        for one in document["parts"]
    ]
    assert got == expected
    digests = [hashlib.sha256(data).hexdigest() for *_, data in expected]
    assert [one["sha256"] for one in document["parts"]] == digests


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["patch", "0"],
        ["patch", "0", "3", "changeset"],
        ["patch", "x", "3"],
        ["patch", "0", "0"],
        ["patch", "-1", "3"],
        ["other", "0", "3"],
        ["patch", "0", str(protocol.COLLECT_MAX_BYTES + 1)],
        ["patch", "0", str(protocol.COLLECT_MAX_BYTES), "changeset", "0", "1"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_collected_is_refused(places: Places, record: Record, words: list[str]) -> None:
    """Whole: not even the parts beside it are given, or count as handed over."""
    verbs_ = finished(places, record, patch=b"0123456789", changeset=b"abc")
    answer, _ = verbs_.answer(["collect", *words], "")
    assert (answer["code"], set(answer["document"])) == (2, {"protocol", "error"})
    assert not record.holding.all_given


def test_a_phase_may_settle_but_a_result_is_told_at_once(record: Record) -> None:
    """Who may not ask often is not answered for every change; a result does not wait for that."""
    record.enter("checks")
    began = time.monotonic()
    told = record.status(0, 5.0, 0.3)
    assert (told["phase"], time.monotonic() - began >= 0.3) == ("checks", True)
    assert record.status(0, 0.05, 60.0)["phase"] == "checks"
    later = threading.Timer(0.1, record.finish, [RESULT])
    later.start()
    began = time.monotonic()
    assert record.status(0, 20.0, 20.0)["result"] is not None
    assert time.monotonic() - began < 10
    later.join()


SHAPES: dict[str, Any] = {
    "one text": "x" * 100_000,
    "little numbers": [1] * 6000,
    "empty lists": [[]] * 4000,
    "characters of many bytes": "\U0001f600" * 5000,
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_large_result_is_collected_like_a_file(
    places: Places, record: Record, shape: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status has its size and its digest in its place, and it is held until it was handed over."""
    places.state.mkdir()
    verbs_ = Control(places, record)
    verbs_.start()
    assert verbs_.answer(["collect", "result", "0", "1"], "")[0]["code"] == 2
    record.finish({"ok": True, "shape": shape})
    status = verbs_.answer(["status"], "")[0]["document"]
    assert status["result"] is None
    now = [clock.since_boot()]
    monkeypatch.setattr(clock, "since_boot", lambda: now[0])
    assert not _over_at(record, now, 590)
    text = b""
    while len(text) < status["result_bytes"]:
        parts = verbs_.answer(["collect", "result", str(len(text)), "9000"], "")[0]["document"]["parts"]
        text += base64.b64decode(parts[0]["data"])
    assert parts[0]["eof"]
    assert "sha256:" + hashlib.sha256(text).hexdigest() == status["result_digest"]
    assert json.loads(text) == record.result
    assert _over_at(record, now, 180)


@pytest.mark.parametrize("value", [1, [], "x", ""], ids=repr)
def test_a_status_is_never_large(record: Record, value: object) -> None:
    """As it is printed, with all around it, whatever the result is made of."""
    inline = []
    for number in range(0, 12_000, 250):
        each = Record(record.nonce, Output(os.open(os.devnull, os.O_WRONLY)), Wake())
        for phase in protocol.PHASES[1:-2]:
            each.enter(phase)
        each.finish({"ok": True, "values": [value] * number})
        status = each.status(-1, 0)
        inline.append(status["result"] is not None)
        assert len(json.dumps(status)) < protocol.RESULT_INLINE_BYTES + 1024
    assert True in inline
    assert False in inline


LIMITS = Limits(timeout_s=1, idle_timeout_s=1, hold_s=600, hold_idle_s=60, grace_s=1)


def test_how_long_a_result_is_held(places: Places, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all was handed over it is kept whatever the silence; then the host has some time from its last
    call on, and more while its last answer may have been lost. Never longer than in all."""
    now = [1000.0]
    monkeypatch.setattr(clock, "since_boot", lambda: now[0])
    verbs_ = finished(places, record, patch=b"0123456789", changeset=b"abc")

    def over_after(*seconds: float) -> list[bool]:
        return [_over_at(record, now, each) for each in seconds]

    assert over_after(599, 600) == [False, True]
    now[0] += 300
    verbs_.answer(["collect", "patch", "0", "6"], "")
    assert over_after(299, 300) == [False, True]
    verbs_.answer(["collect", "patch", "8", "2", "changeset", "0", "3"], "")
    assert over_after(299) == [False]  # bytes 6 and 7 are still owed
    verbs_.answer(["collect", "patch", "6", "4"], "")
    assert over_after(179, 180) == [False, True]
    now[0] += 100
    verbs_.answer(["status"], "")
    assert over_after(59, 60) == [False, True]


def _over_at(record: Record, now: list[float], later_s: float) -> bool:
    now[0] += later_s
    try:
        return record.holding.over(LIMITS)
    finally:
        now[0] -= later_s


def test_a_result_without_files_is_held_for_the_idle_time(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is owed but the result itself."""
    now = [1000.0]
    monkeypatch.setattr(clock, "since_boot", lambda: now[0])
    record.finish(RESULT)
    record.holding.called()
    assert [_over_at(record, now, later_s) for later_s in (59, 60)] == [False, True]
