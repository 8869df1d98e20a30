"""The verb `doctor`: what this action relies on at Fly, tried on your own app with one short machine.

Each probe settles one assumption that no documentation does; the stand-in has each of them as a setting. The
machine runs our image but gets no job and no secret, and is destroyed at the end.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from flaude_action.errors import FlaudeError, FlyAPIError
from flaude_action.fly import Fly, base_urls
from flaude_action.machine import Launch, Machine, metadata, new_nonce, run_digest
from flaude_action.machine_config import MachineConfig
from flaude_action.untrusted import one_line
from flaude_action.waiting import Deadline
from flaude_guest.protocol import GUEST_COMMAND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

STDIN_BYTES = 256 * 1024
OUTPUT_BYTES = (64 * 1024, 256 * 1024, 1024 * 1024)
LINE_BYTES = (1024, 4096, 16 * 1024, 64 * 1024)
LOG_S = 15.0
RECORD_S = 20.0
BOOT_S = 180.0
LIFETIME_S = 300.0

_COUNT_STDIN = "import sys; print(len(sys.stdin.buffer.read()))"
_PRINT = "import sys; sys.stdout.write('x' * {size})"
# The supervisor's own stdout is what Fly takes the log from; an exec's is not.
_LOG_LINES = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    words = open(f"/proc/{{pid}}/cmdline", "rb").read().split(b"\\0")
    environ = open(f"/proc/{{pid}}/environ", "rb").read() if b"flaude" in b" ".join(words) else b""
    if b"FLAUDE_NONCE={nonce}" in environ and any(b"supervisor" in word for word in words):
        with open(f"/proc/{{pid}}/fd/1", "ab", buffering=0) as log:
            for size in {sizes}:
                log.write(b"doctor:" + b"x" * size + b"\\n")
        print("written")
        break
"""
_FLY_API = """
import os, socket
try:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
except PermissionError:
    raise SystemExit("not root")
try:
    socket.socket(socket.AF_UNIX).connect("/.fly/api")
except OSError as error:
    print(type(error).__name__)
else:
    print("open")
"""


@dataclass(frozen=True)
class Finding:
    """One assumption: whether it held (None: could not be tried) and what was seen."""

    assumption: str
    held: bool | None
    seen: str


async def examine(app: str, image: str, region: str, environ: Mapping[str, str], out: TextIO) -> int:
    """Try everything and print the table. 0 when all held, 1 when something did not, 2 without an answer."""
    token = environ.get("FLY_API_TOKEN", "")
    if not token:
        out.write("Set FLY_API_TOKEN to the token the action would use.\n")
        return 2
    flaps, api = base_urls(environ)
    try:
        async with Fly(token, flaps_url=flaps, api_url=api, user_agent="flaude-action doctor") as fly:
            await fly.get_app(app)
            findings = await _examine(fly, app, image, region, out)
    except FlaudeError as error:
        out.write(f"{error.message} {error.details}\n{error.hint}\n")
        return 2
    out.write(table(findings))
    return 1 if any(finding.held is False for finding in findings) else 0


async def _examine(fly: Fly, app: str, image: str, region: str, out: TextIO) -> list[Finding]:
    nonce, run = new_nonce(), run_digest("doctor", time.time())
    config = MachineConfig(image=image, vm_cpus=1, vm_memory_mb=1024)
    body = config.create_config(config.guest_env(nonce), metadata(run, nonce, LIFETIME_S))
    machine = Machine(fly, app, Launch(run, nonce, body, regions=(region or None,)))
    async with machine:
        out.write(
            f"Machine {machine.id} is created in {machine.record.region}; it lives for about a minute.\n"
        )
        await machine.started(Deadline.after(BOOT_S))
        findings = [await probe(fly, app, machine, nonce) for probe in _PROBES]
        findings.append(await _exit_event(fly, app, machine))
    findings.append(await _record(fly, app, machine))
    return findings


def table(findings: list[Finding]) -> str:
    """The findings as aligned lines."""
    words = {True: "held", False: "DID NOT HOLD", None: "not tried"}
    width = max(len(finding.assumption) for finding in findings)
    rows = [
        f"{finding.assumption:<{width}}  {words[finding.held]:<12}  {finding.seen}" for finding in findings
    ]
    return "\n".join(rows) + "\n"


async def _exec_root(fly: Fly, app: str, machine: Machine, nonce: str) -> Finding:
    what = "exec runs as root"
    answer = await _try(fly, app, machine, ["id", "-u"])
    return Finding(what, answer == "0", f"uid {answer}")


async def _guest_answers(fly: Fly, app: str, machine: Machine, nonce: str) -> Finding:
    answer = await _try(fly, app, machine, [GUEST_COMMAND, "status", "--after", "-1", "--wait", "0"])
    ok = '"protocol"' in answer and nonce in answer
    return Finding("our guest answers over exec", ok, "it did" if ok else answer)


async def _exec_stdin(fly: Fly, app: str, machine: Machine, nonce: str) -> Finding:
    answer = await _try(fly, app, machine, ["python3", "-c", _COUNT_STDIN], "x" * STDIN_BYTES)
    return Finding(
        f"exec takes {STDIN_BYTES >> 10} KiB of stdin", answer == str(STDIN_BYTES), f"{answer} bytes came"
    )


async def _exec_output(fly: Fly, app: str, machine: Machine, nonce: str) -> Finding:
    whole = 0
    for size in OUTPUT_BYTES:
        answer = await fly.exec(app, machine.id, ["python3", "-c", _PRINT.format(size=size)])
        if len(answer.stdout) != size:
            break
        whole = size
    return Finding(
        f"exec answers {OUTPUT_BYTES[1] >> 10} KiB whole",
        whole >= OUTPUT_BYTES[1],
        f"{whole >> 10} KiB came whole",
    )


async def _logs(fly: Fly, app: str, machine: Machine, nonce: str) -> Finding:
    what = "this token may read logs"
    try:
        await fly.logs_page(app, machine.id)
    except FlyAPIError as error:
        return Finding(what, False, f"HTTP {error.status_code}; runs work, but their log stays empty")
    return Finding(what, True, "it may")


async def _log_line(fly: Fly, app: str, machine: Machine, nonce: str) -> Finding:
    what = f"a log line of {LINE_BYTES[1] >> 10} KiB arrives whole"
    code = _LOG_LINES.format(nonce=nonce, sizes=LINE_BYTES)
    if await _try(fly, app, machine, ["python3", "-c", code]) != "written":
        return Finding(what, None, "the guest's log could not be written to")
    longest, deadline = 0, Deadline.after(LOG_S)
    while not deadline.passed and longest < LINE_BYTES[-1]:
        await asyncio.sleep(1)
        try:
            page = await fly.logs_page(app, machine.id)
        except FlyAPIError:
            return Finding(what, None, "logs cannot be read")
        texts = [str(entry.get("attributes", {}).get("message", "")) for entry in page.entries]
        longest = max([longest, *(len(text) - 7 for text in texts if text.startswith("doctor:"))])
    return Finding(what, longest >= LINE_BYTES[1], f"the longest that came has {longest} bytes")


async def _fly_api(fly: Fly, app: str, machine: Machine, nonce: str) -> Finding:
    what = "/.fly/api is closed to others than root"
    answer = await _try(fly, app, machine, ["python3", "-c", _FLY_API])
    if answer == "open":
        return Finding(what, False, "nobody could connect to it")
    return Finding(what, True if answer in ("PermissionError", "FileNotFoundError") else None, answer)


async def _exit_event(fly: Fly, app: str, machine: Machine) -> Finding:
    """Stop it as a user could and see how Fly tells of that."""
    what = "the exit event has a shape we know"
    await fly.stop_machine(app, machine.id, signal="SIGTERM", timeout=10)
    try:
        async with asyncio.timeout(RECORD_S):
            await machine.ended()
    except TimeoutError:
        return Finding(what, None, "the machine did not stop in time")
    events = await fly.events(app, machine.id)
    told = next((event.exit for event in events if event.exit is not None), None)
    if told is None:
        return Finding(what, False, "no event tells of the exit")
    shape = f"request.{told.nesting} with {', '.join(sorted(told.keys)) or 'no members'}"
    return Finding(what, not told.unknown_keys, shape)


async def _record(fly: Fly, app: str, machine: Machine) -> Finding:
    what = "a destroyed machine's record answers for a while"
    began = time.monotonic()
    while (passed := time.monotonic() - began) < RECORD_S:
        try:
            await fly.get_machine(app, machine.id)
        except FlyAPIError as error:
            return Finding(what, passed > 1, f"HTTP {error.status_code} after {passed:.0f} s")
        await asyncio.sleep(1)
    return Finding(what, True, f"for more than {RECORD_S:.0f} s")


async def _try(fly: Fly, app: str, machine: Machine, command: list[str], stdin: str = "") -> str:
    """What the command printed, or how it failed, in one line."""
    try:
        answer = await fly.exec(app, machine.id, command, stdin)
    except FlyAPIError as error:
        return f"HTTP {error.status_code}"
    return one_line(answer.stdout.strip() or answer.stderr.strip(), 300)


_PROBES: tuple[Callable[[Fly, str, Machine, str], Awaitable[Finding]], ...] = (
    _guest_answers, _exec_root, _exec_stdin, _exec_output, _logs, _log_line, _fly_api,
)  # fmt: skip
