"""The supervisor's end of the verbs: a unix socket that only root can reach, one JSON exchange per
connection.

Verbs change nothing themselves but the record; the journey does the work. The program that brings a verb
here is `verbs`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Sequence

from flaude_guest import job_document, protocol
from flaude_guest.record import TooLate
from flaude_guest.verbs import ANSWER_END

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.places import Places
    from flaude_guest.record import Record

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")
REQUEST_MAX_BYTES = 32 * 1024 * 1024
INTERRUPT_WAIT_S = 2.4
GOODBYE_S = 2.0
"""How long a release waits for its client to have read the answer and gone."""
EXEC_REPORT_S = 0.1
"""What the platform needs to report an exec's end; if we left sooner it would report it as killed."""

ACCEPT_AGAIN_S = 0.1


class Refused(Exception):
    """A verb that gets an error document: `type` of the catalog and fixed wording."""

    def __init__(self, type: str, message: str) -> None:  # noqa: A002 - the field's name in the document
        super().__init__(message)
        self.type = type


class Control:
    """Listens in a thread of its own, answers each connection in another."""

    def __init__(self, places: Places, record: Record) -> None:
        self._state = places.state
        self._record = record
        self._verbs: dict[str, Callable[[Sequence[str], str], dict[str, Any]]] = {
            "provision": self._provision,
            "status": self._status,
            "collect": self._collect,
            "interrupt": self._interrupt,
            "release": self._release,
        }
        places.socket.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with at_directory(places.run) as directory:
            self._listener.bind(directory + "/" + places.socket.name)
        places.socket.chmod(0o600)
        self._listener.listen(16)

    def start(self) -> None:
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                time.sleep(ACCEPT_AGAIN_S)  # the machine has no memory or no files left, for now
                continue
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError:
                # The work has used up all processes there may be: one call at a time is better than none.
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if _peer(connection) not in (0, os.getuid()):
                    return
                request = json.loads(_read_all(connection, REQUEST_MAX_BYTES))
                answer, verb = self.answer(request["args"], request["stdin"])
                connection.sendall(json.dumps(answer).encode("ascii") + ANSWER_END)
            except (OSError, ValueError, KeyError, TypeError):
                return  # a client that broke off or is not ours; the next call starts anew
            if verb == "release" and answer["code"] == 0:
                _await_end(connection)
                time.sleep(EXEC_REPORT_S)
                self._record.release()

    def answer(self, args: Sequence[str], stdin: str) -> tuple[dict[str, Any], str]:
        """`({code, document}, verb)` for one command line."""
        verb = args[0] if args else ""
        self._record.holding.called()
        try:
            return {"code": 0, "document": self._verbs.get(verb, _unknown)(args[1:], stdin)}, verb
        except (Refused, job_document.JobRefused) as refused:
            error = {"type": refused.type, "message": str(refused)}
            return {"code": 2, "document": {"protocol": protocol.PROTOCOL, "error": error}}, verb

    def _provision(self, _args: Sequence[str], stdin: str) -> dict[str, Any]:
        job = job_document.read(_json(stdin), self._record.nonce)
        try:
            taken = self._record.provision(job)
        except TooLate:
            raise Refused("boot_marker_missing", "The machine does not wait for a job any more.") from None
        return self._document(accepted=True, repeated=not taken)

    def _status(self, args: Sequence[str], _stdin: str) -> dict[str, Any]:
        options = dict(zip(args[::2], args[1::2]))  # noqa: B905 - `strict` is Python 3.10
        wait_s = min(_number(options.get("--wait", "0")), protocol.STATUS_WAIT_S)
        settle_s = _number(options.get("--settle", "0"))
        return self._record.status(int(_number(options.get("--after", "-1"))), wait_s, settle_s)

    def _interrupt(self, _args: Sequence[str], _stdin: str) -> dict[str, Any]:
        self._record.ask_to_stop("cancelled")
        return self._record.status_when_held(INTERRUPT_WAIT_S)

    def _release(self, _args: Sequence[str], _stdin: str) -> dict[str, Any]:
        if self._record.result is None:
            raise Refused("protocol_mismatch", "There is no result to release yet.")
        return self._document(released=True)

    def _collect(self, args: Sequence[str], _stdin: str) -> dict[str, Any]:
        if not args or len(args) % 3:
            raise Refused("protocol_mismatch", "collect takes NAME OFFSET LENGTH, once or more.")
        numbers = [int(_number(word)) for at, word in enumerate(args) if at % 3]
        wanted = list(zip(args[::3], numbers[::2], numbers[1::2]))  # noqa: B905 - `strict` is Python 3.10
        if sum(length for _, _, length in wanted) > protocol.COLLECT_MAX_BYTES:
            raise Refused("collect_failed", "That is more than one answer carries.")
        parts = [self._part(*one) for one in wanted]
        for name, offset, length in wanted:
            self._record.holding.handed_over(name, offset, length)
        return self._document(parts=parts)

    def _part(self, name: str, offset: int, length: int) -> dict[str, Any]:
        text, files = self._record.result_text, (self._record.result or {}).get("files", {})
        size = len(text) if name == "result" and text else files.get(name, {}).get("size")
        if size is None:
            raise Refused("collect_failed", "There is no such file to collect.")
        if offset < 0 or length <= 0:
            raise Refused("collect_failed", "That part cannot be collected.")
        with io.BytesIO(text) if name == "result" else (self._state / name).open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        return {
            "name": name,
            "offset": offset,
            "size": size,
            "eof": offset + len(data) >= size,
            "sha256": hashlib.sha256(data).hexdigest(),
            "data": base64.b64encode(data).decode("ascii"),
        }

    def _document(self, **members: Any) -> dict[str, Any]:
        return {"protocol": protocol.PROTOCOL, "nonce": self._record.nonce, **members}


class at_directory:  # noqa: N801 - used like a function: `with at_directory(path) as short:`
    """A short name for a folder: a unix socket's path may have no more than 107 bytes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> str:
        self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        return "/proc/self/fd/%d" % self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _unknown(_args: Sequence[str], _stdin: str) -> dict[str, Any]:
    raise Refused("protocol_mismatch", "The guest does not know this verb.")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("config_invalid", "The job is not JSON.") from None


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise Refused("protocol_mismatch", "A number was expected.")
    return float(text)


def _peer(connection: socket.socket) -> int:
    """The uid at the other end: https://man7.org/linux/man-pages/man7/unix.7.html (SO_PEERCRED)."""
    size = struct.calcsize("3i")
    uid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1]
    return uid


def _await_end(connection: socket.socket) -> None:
    """Until the client has exited, which its half-closed connection tells only by hanging up altogether."""
    poll = select.poll()
    poll.register(connection, 0)
    poll.poll(GOODBYE_S * 1000)


def _read_all(connection: socket.socket, limit: int) -> bytes:
    data = bytearray()
    while len(data) <= limit:
        part = connection.recv(65536)
        if not part:
            return bytes(data)
        data += part
    raise ValueError("a request of more than %d bytes" % limit)
