"""The guest's control socket: callers that stay, logs that block, a machine at its limits."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.guest import job

from flaude_guest import control, verbs
from flaude_guest.control import Control
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
