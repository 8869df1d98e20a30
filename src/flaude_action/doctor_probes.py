"""What `doctor` tries on its machine: one probe for each assumption about Fly that no documentation settles.

Each of them is a setting of the stand-in too. Making the machine, the table and the exit code are `doctor`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flaude_action.errors import FlyAPIError
from flaude_action.fly_errors import may_pass
from flaude_action.log_lines import parse_entry
from flaude_action.untrusted import one_line
from flaude_action.waiting import Deadline
from flaude_guest.protocol import GUEST_COMMAND

if TYPE_CHECKING:
    from flaude_action.fly import Fly
    from flaude_action.machine import Machine

STDIN_BYTES = 256 * 1024
OUTPUT_BYTES = (64 * 1024, 256 * 1024, 1024 * 1024)
LINE_BYTES = (1024, 4096, 16 * 1024, 64 * 1024)
LOG_S = 15.0
RECORD_S = 20.0

_COUNT_STDIN = "import sys; print(len(sys.stdin.buffer.read()))"
_PRINT = "import sys; sys.stdout.write('x' * {size})"
# The supervisor's own stdout is what Fly takes the log from; an exec's is not. Commands run by exec have the
# machine's environment too, this one as well, but the supervisor was there before them.
_LOG_LINES = """
import os
def words(pid, name):
    try:
        return open(f"/proc/{{pid}}/{{name}}", "rb").read().split(b"\\0")
    except OSError:
        return []
for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
    is_guest = any(b"flaude" in word for word in words(pid, "cmdline"))
    if is_guest and pid != os.getpid() and b"FLAUDE_NONCE={nonce}" in words(pid, "environ"):
        with open(f"/proc/{{pid}}/fd/1", "ab", buffering=0) as log:
            for size in {sizes}:
                log.write(b"doctor:" + b"x" * size + b"\\n")
        break
else:
    raise SystemExit("the guest's supervisor was not found")
"""
_FLY_API = """
import os, socket
try:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
except PermissionError:
    raise SystemExit("exec does not run as root")
try:
    socket.socket(socket.AF_UNIX).connect("/.fly/api")
except FileNotFoundError:
    print("there is none")
except PermissionError:
    print("connecting is refused")
else:
    print("open")
"""


@dataclass(frozen=True)
class Finding:
    """One assumption: whether it held (None: could not be tried) and what was seen."""

    assumption: str
    held: bool | None
    seen: str


@dataclass(frozen=True)
class Subject:
    """The machine that everything is tried on."""

    fly: Fly
    app: str
    machine: Machine
    nonce: str

    async def run(self, *command: str, stdin: str = "") -> str:
        """What a command printed. Raises Untried when it failed, FlyAPIError when Fly did."""
        answer = await self.fly.exec(self.app, self.machine.id, command, stdin)
        if answer.exit_code != 0:
            raise Untried(f"exit code {answer.exit_code}: {one_line(answer.stderr[-300:] or 'no words')}")
        return answer.stdout


Seen = tuple[bool | None, str]
Probe = tuple[str, Callable[[Subject], Awaitable[Seen]]]


class Untried(Exception):
    """A probe that came to nothing, and why."""


async def tried(probe: Probe, subject: Subject) -> Finding:
    """The probe's finding; trouble on the way to it makes it one that was not tried."""
    assumption, look = probe
    try:
        held, seen = await look(subject)
    except Untried as reason:
        held, seen = None, str(reason)
    except FlyAPIError as error:
        held, seen = None, answered(error)
    return Finding(assumption, held, seen)


def answered(error: FlyAPIError) -> str:
    """What Fly answered, in a few words; its own are neutralised."""
    words = one_line(error.detail)
    return f"HTTP {error.status_code}: {words}" if error.status_code else f"no answer: {words}"


def _refusal(error: FlyAPIError, *, so: str = "") -> Seen:
    """For a probe of what Fly accepts: a refusal is a finding, other trouble is none."""
    if may_pass(error):
        raise error
    return False, answered(error) + so


async def _guest_answers(subject: Subject) -> Seen:
    try:
        answer = await subject.run(GUEST_COMMAND, "status", "--after", "-1", "--wait", "0")
    except Untried as failed:
        return False, str(failed)
    except FlyAPIError as error:
        return _refusal(error)
    ours = '"protocol"' in answer and subject.nonce in answer
    return ours, "it did" if ours else one_line(answer) or "with nothing"


async def _exec_root(subject: Subject) -> Seen:
    uid = one_line(await subject.run("id", "-u"))
    return uid == "0", f"uid {uid}"


async def _exec_stdin(subject: Subject) -> Seen:
    try:
        came = one_line(await subject.run("python3", "-c", _COUNT_STDIN, stdin="x" * STDIN_BYTES))
    except FlyAPIError as error:
        return _refusal(error)
    return came == str(STDIN_BYTES), f"{came} bytes came"


async def _exec_output(subject: Subject) -> Seen:
    whole = 0
    for size in OUTPUT_BYTES:
        if len(await subject.run("python3", "-c", _PRINT.format(size=size))) != size:
            break
        whole = size
    return whole >= OUTPUT_BYTES[1], f"{whole >> 10} KiB came whole"


async def _logs(subject: Subject) -> Seen:
    try:
        await subject.fly.logs_page(subject.app, subject.machine.id)
    except FlyAPIError as error:
        return _refusal(error, so="; runs work, but their log stays empty")
    return True, "it may"


async def _log_line(subject: Subject) -> Seen:
    await subject.run("python3", "-c", _LOG_LINES.format(nonce=subject.nonce, sizes=LINE_BYTES))
    longest, deadline = 0, Deadline.after(LOG_S)
    while not deadline.passed and longest < LINE_BYTES[-1]:
        await asyncio.sleep(1)
        page = await subject.fly.logs_page(subject.app, subject.machine.id)
        texts = [line.message for line in map(parse_entry, page.entries) if line is not None]
        longest = max([longest, *(len(text) - 7 for text in texts if text.startswith("doctor:"))])
    if not longest:
        raise Untried(f"no line came within {LOG_S:.0f} s")
    return longest >= LINE_BYTES[1], f"the longest that came has {longest} bytes"


async def _fly_api(subject: Subject) -> Seen:
    seen = one_line(await subject.run("python3", "-c", _FLY_API))
    return seen != "open", "a user without rights could connect" if seen == "open" else seen


async def _exit_event(subject: Subject) -> Seen:
    """Stop it as a user could and see how Fly tells of that."""
    await subject.fly.stop_machine(subject.app, subject.machine.id, signal="SIGTERM", timeout=10)
    try:
        async with asyncio.timeout(RECORD_S):
            await subject.machine.ended()
    except TimeoutError:
        raise Untried("the machine did not stop in time") from None
    events = await subject.fly.events(subject.app, subject.machine.id)
    told = next((event.exit for event in events if event.exit is not None), None)
    if told is None:
        return False, "no event tells of the exit"
    return (
        not told.unknown_keys,
        f"request.{told.nesting} with {', '.join(sorted(told.keys)) or 'no members'}",
    )


async def _record(subject: Subject) -> Seen:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < RECORD_S:
        try:
            await subject.fly.get_machine(subject.app, subject.machine.id)
        except FlyAPIError as error:
            if error.status_code != 404:
                raise
            return passed > 1, f"HTTP 404 after {passed:.0f} s"
        await asyncio.sleep(1)
    return True, f"for more than {RECORD_S:.0f} s"


WHILE_IT_LIVES: tuple[Probe, ...] = (
    ("our guest answers over exec", _guest_answers),
    ("exec runs as root", _exec_root),
    (f"exec takes {STDIN_BYTES >> 10} KiB of stdin", _exec_stdin),
    (f"exec answers {OUTPUT_BYTES[1] >> 10} KiB whole", _exec_output),
    ("this token may read logs", _logs),
    (f"a log line of {LINE_BYTES[1] >> 10} KiB arrives whole", _log_line),
    ("/.fly/api is closed to others than root", _fly_api),
    ("the exit event has a shape we know", _exit_event),
)
"""In this order: the last one stops the machine."""
WHEN_IT_IS_GONE: Probe = ("a destroyed machine's record answers for a while", _record)
