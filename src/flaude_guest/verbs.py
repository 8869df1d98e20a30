"""`flaude-guest VERB ...`: brings one verb to the supervisor and prints its answer, one JSON document.

Exit code 0: the document is an answer; 2: it is an error. It imports little, because every exec pays for
it; all meaning is in `control`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Mapping, NoReturn, Sequence

from flaude_guest import protocol

APPEAR_S = 10.0
"""How long the supervisor's socket may take to appear after boot."""
ANSWER_S = 60.0
ANSWER_END = b"\n"
"""Ends the supervisor's answer; the connection itself ends with this process."""


def run() -> NoReturn:
    """Console entry. Only the process's end closes the connection: after `release` the guest waits for it."""
    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    os._exit(code)


def main(args: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code; leaves the connection open."""
    stdin = sys.stdin.buffer.read().decode("utf-8", "replace") if args[:1] == ["provision"] else ""
    try:
        connection = connect(environ.get("FLAUDE_RUN_DIR") or "/run/flaude", APPEAR_S)
        connection.settimeout(ANSWER_S)
        connection.sendall(json.dumps({"args": list(args), "stdin": stdin}).encode("ascii"))
        connection.shutdown(socket.SHUT_WR)
        answer = json.loads(_read_answer(connection))
        sys.stdout.write(json.dumps(answer["document"]) + "\n")
        return int(answer["code"])
    except (OSError, ValueError):
        error = {"type": "boot_marker_missing", "message": "The supervisor does not answer."}
        sys.stdout.write(json.dumps({"protocol": protocol.PROTOCOL, "error": error}) + "\n")
        return 2


def _read_answer(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(ANSWER_END):
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return bytes(data)


def connect(run_dir: str, patience_s: float) -> socket.socket:
    """The supervisor's socket, waiting for it to appear. Raises OSError."""
    deadline = time.monotonic() + patience_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            folder = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # By way of the open folder: a unix socket's own path may have no more than 107 bytes.
                connection.connect("/proc/self/fd/%d/control.sock" % folder)
            finally:
                os.close(folder)
            return connection
        except OSError as error:
            connection.close()
            if isinstance(error, PermissionError) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    run()
