"""The guest's control socket when the machine is at its limits."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING

from flaude_guest import verbs
from flaude_guest.control import Control
from flaude_guest.output import Output
from flaude_guest.places import Places
from flaude_guest.record import Record, Wake

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_calls_are_answered_without_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A work that leaves no process to start leaves the guest's answers: one call at a time."""
    names = ("RUN", "STATE", "WORK")
    environ = {f"FLAUDE_{name}_DIR": str(tmp_path / name) for name in names} | {"FLAUDE_HOME": str(tmp_path)}
    places = Places.of(environ | {"PATH": os.environ["PATH"]}, isolated=False)
    places.run.mkdir()
    Control(places, Record("n" * 16, Output(os.open(os.devnull, os.O_WRONLY)), Wake())).start()

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
