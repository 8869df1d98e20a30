"""From the start of the process to the create request on the wire: our main stage and flaude 0.6.1, in pairs.

Both talk to a server on loopback that answers every question at once and refuses the create, so that what is
measured is the program and not the network.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAUDE = "flaude==0.6.1"
_INSTALL = "python -m bench.startup"
CACHE = Path(os.environ.get("FLAUDE_CACHE") or Path.home() / ".cache" / "flaude-action")

OURS = "from flaude_action.cli import main_entry; main_entry()"
THEIRS = """
import asyncio, sys, flaude, flaude.fly_client
flaude.fly_client.FLY_API_BASE = sys.argv[1]
config = flaude.MachineConfig(prompt="p", claude_code_oauth_token="sk-ant-oat01-bench", image="r.test/i:1")
asyncio.run(flaude.run_and_destroy("bench", config))
"""


class _Fly(BaseHTTPRequestHandler):
    """Answers any GET with an app, refuses any create, and notes when the first of each came."""

    protocol_version = "HTTP/1.1"
    asked_at: float = 0.0
    created_at: float = 0.0

    def do_GET(self) -> None:
        type(self).asked_at = type(self).asked_at or time.monotonic()
        app = {"name": "bench", "organization": {"slug": "bench"}, "status": "deployed", "machines": []}
        self._answer(200, [] if self.path.split("?")[0].endswith("/machines") else app)

    def do_POST(self) -> None:
        type(self).created_at = time.monotonic()
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self._answer(422, {"error": "refused by the benchmark"})

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the table is the output."""


@contextmanager
def fly() -> Iterator[str]:
    """Serve it; yields the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Fly)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def measure(pairs: int = 15) -> dict[str, float]:
    """`{ours_s, flaude_s, ratio}`: medians over the pairs; the ratio is the median of the pairs' own."""
    theirs = flaude_python()
    their_environment = {"FLY_API_TOKEN": "fm2_bench"}
    found = []
    with fly() as url, tempfile.TemporaryDirectory() as workspace:
        for _ in range(pairs + 1):
            _, ours_s = seconds([sys.executable, "-I", "-c", OURS], our_environment(url, Path(workspace)))
            _, theirs_s = seconds([str(theirs), "-I", "-c", THEIRS, f"{url}/v1"], their_environment)
            found.append((ours_s, theirs_s))
    warm = found[1:]  # the first pair writes bytecode and fills the page cache
    return {
        "ours_s": statistics.median(ours for ours, _ in warm),
        "flaude_s": statistics.median(flaude for _, flaude in warm),
        "ratio": statistics.median(ours / flaude for ours, flaude in warm),
    }


def seconds(command: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """From start to the first question and to the create request. Raises RuntimeError when none comes."""
    _Fly.asked_at = _Fly.created_at = 0.0
    start = time.monotonic()
    environ = {"PATH": os.environ["PATH"], **environ}
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not _Fly.created_at:
        raise RuntimeError(f"no create request from {command[0]}:\n{done.stdout}\n{done.stderr}")
    return _Fly.asked_at - start, _Fly.created_at - start


def our_environment(url: str, workspace: Path) -> dict[str, str]:
    """What the runner would set, for a step that names its repository."""
    (workspace / "event.json").write_text("{}")
    inputs = {
        "prompt": "p",
        "claude_code_oauth_token": "sk-ant-oat01-bench",
        "fly_api_token": "fm2_bench",
        "fly_app": "bench",
        "image": "registry.test/i:1",
        "repository": "o/r",
        "ref": "main",
    }
    runner = {
        "FLY_FLAPS_BASE_URL": url,
        "FLY_API_BASE_URL": url,
        "GITHUB_WORKSPACE": str(workspace),
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_EVENT_NAME": "workflow_dispatch",
        "GITHUB_EVENT_PATH": f"{workspace}/event.json",
        "GITHUB_SHA": "0" * 39 + "1",
    }
    return runner | {f"INPUT_{name.upper()}": value for name, value in inputs.items()}


def flaude_python() -> Path:
    """A virtual environment of its own, made once; flaude is measured as its users install it."""
    folder = _flaude_folder()
    python = folder / "bin" / "python"
    if flaude_missing():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", FLAUDE], check=True)
        (folder / "ready").touch()
    return python


def flaude_missing() -> str:
    """Why it would have to be installed from PyPI first; empty when it is there."""
    return "" if (_flaude_folder() / "ready").exists() else f"{FLAUDE} is not installed ({_INSTALL})"


def _flaude_folder() -> Path:
    return CACHE / f"bench-{FLAUDE}-{sys.version_info.major}.{sys.version_info.minor}"


if __name__ == "__main__":
    print(flaude_python())
