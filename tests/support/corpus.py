"""One end of a run, produced on localfly and judged by the real `main` verb: how a case is made and checked.

The cases are in the tables `corpus_agent`, `corpus_machine` and `corpus_step`. The machine is our real guest
as a plain process, in which a recorded run of Claude Code is played; or a shell program that knows nothing of
us (`runs`). Nothing here calls the verdict.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.support.claude_runs import player, to_play
from tests.support.fly import LocalFlyHandle, eventually, localfly
from tests.support.step import IMAGE, Stage, make_repository, process_images

from flaude_action.catalog import CATALOG
from localfly.githost import serve_githost

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.step import Ended

FOREIGN = "foreign:1"
NOWHERE = "http://127.0.0.1:9"
RESULT, EVENT, STATUS = "guest_result", "api_event", "api_status"
MARKER, PLATFORM, NONE = "log_marker", "platform_log", "none"
"""What `exit_code_source` can say."""
EXIT_OF = {"success": 0, "failure": 1, "cancelled": 130}
ALWAYS = 100_000


class Story(Protocol):
    """What a case's acts need of a run in progress, whoever runs it."""

    async def until(self, text: str) -> str: ...
    def signal(self, number: signal.Signals) -> None: ...


Act = Callable[[Story, LocalFlyHandle], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """How an end is produced, and what must be said of it.

    `type` is the output `error_type` and also tells the conclusion, `source` is `exit_code_source`, `code`
    the output `exit_code` where it matters, `exits` the step's own exit code where it is not the conclusion's
    usual one, `warned` the types of all warnings, `says` a part of the output `error_message`.

    Our guest plays the recorded run `plays` and ends as recorded, or by `then`; `guest` changes its entry in
    the images file. With `runs` the image is foreign and runs that shell program. `prepared` gets the folder
    with the repositories, `acts` happen one after the other while the step runs. A `slow` case waits for
    something, one that `leaves` a machine may.
    """

    name: str
    type: str
    source: str
    code: str | None = None
    exits: int | None = None
    warned: tuple[str, ...] = ()
    says: str = ""
    plays: str = "success"
    then: str = ""
    runs: str | None = None
    guest: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[Mapping[str, Any], ...] = ()
    prepared: Callable[[Path], None] | None = None
    acts: tuple[Act, ...] = ()
    slow: bool = False
    leaves: bool = False

    @property
    def conclusion(self) -> str:
        return {"": "success", "cancelled": "cancelled"}.get(self.type, "failure")


# What can happen to a running step.


def after(line: str) -> Act:
    """Wait for a line of the step's log."""

    async def act(running: Story, fly: LocalFlyHandle) -> None:
        await running.until(line)

    return act


def forge(event: Mapping[str, Any] | None, *, said: int | None = 137, **order: Any) -> Act:
    """End the machine with this exit event; `said` is the code in the runner's log line, None for no line."""
    if said is not None:
        order["runner_line"] = f"machine exited with exit code {said}, not restarting"

    async def act(running: Story, fly: LocalFlyHandle) -> None:
        await fly.end(await _machine(fly), event, **order)

    return act


def ask(method: str, action: str = "", body: Mapping[str, Any] | None = None, **query: str) -> Act:
    """Somebody else calls the Machines API about our machine."""

    async def act(running: Story, fly: LocalFlyHandle) -> None:
        answer = await fly.call(method, f"/machines/{await _machine(fly)}{action}", body, params=query)
        assert answer.is_success, answer.text

    return act


def order(*faults: Mapping[str, Any]) -> Act:
    """From now on, these faults."""

    async def act(running: Story, fly: LocalFlyHandle) -> None:
        for fault in faults:
            await fly.fault(**fault)

    return act


async def answered(running: Story, fly: LocalFlyHandle) -> None:
    """Every command that is on its way now has its answer; asking for the status may take its 20 s."""
    now = time.time()

    async def all_are() -> bool:
        asked = await fly.requests("POST", "/exec")
        return all(request["status"] is not None for request in asked if request["at"] < now)

    await eventually(all_are, within_s=40)


async def kill(running: Story, fly: LocalFlyHandle) -> None:
    await fly.kill(await _machine(fly))


async def vanish(running: Story, fly: LocalFlyHandle) -> None:
    await fly.vanish(await _machine(fly))


def send(number: signal.Signals) -> Act:
    """The runner signals the step."""

    async def act(running: Story, fly: LocalFlyHandle) -> None:
        running.signal(number)

    return act


async def _machine(fly: LocalFlyHandle) -> str:
    machines = (await fly.call("GET", "/machines")).json()
    [alive] = [each["id"] for each in machines if each["state"] in ("created", "starting", "started")]
    return str(alive)


# Faults.


def respond(path: str, status: int, body: object = None, **more: Any) -> dict[str, Any]:
    """Every matching request gets this answer; `method`, `times`, `skip` as localfly takes them."""
    return {"path": path, "action": "respond", "status": status, "body": body, "times": ALWAYS} | more


def guest_says(document: Mapping[str, Any] | str) -> dict[str, Any]:
    """Every exec prints this, whatever was asked."""
    stdout = document if isinstance(document, str) else json.dumps(document)
    return respond("/exec$", 200, {"stdout": stdout, "stderr": "", "exit_code": 0})


# Running and checking.


@asynccontextmanager
async def staged(case: Case, folder: Path) -> AsyncIterator[Stage]:
    """Fly, git host and images as the case wants them, before anything runs."""
    sha = make_repository(folder)
    if case.prepared is not None:
        case.prepared(folder / "repositories")
    images = process_images(folder, player(folder))
    ours = images[IMAGE]
    images[IMAGE] = {**ours, **case.guest, "env": {**ours["env"], **case.guest.get("env", {})}}
    if case.runs is not None:
        # It is started twice: the first time only to learn that it is foreign, and without its job.
        program = '[ "$FLAUDE_PROMPT" ] || exec sleep 60; ' + case.runs
        images[FOREIGN] = {"argv": ["bash", "-c", program]}
    async with (
        serve_githost(folder / "repositories") as githost,
        localfly(images=images, **case.settings) as fly,
    ):
        for fault in case.faults:
            await fly.fault(**fault)
        yield Stage(fly, githost, NOWHERE, folder, sha, FOREIGN if case.runs is not None else IMAGE)


async def run(case: Case, folder: Path) -> tuple[Ended, list[str]]:
    """The whole step; how it ended and which machines are left."""
    async with staged(case, folder) as stage:
        environment = "".join(f"{name}: {shlex.quote(text)}\n" for name, text in _environment(case).items())
        running = await stage.start(**{"env": environment, **case.inputs})
        for act in case.acts:
            await act(running, stage.fly)
        ended = await running.ended()
        await stage.fly.settings(tokens=[])  # whatever the case was about: now we look
        return ended, await stage.machines_left()


def _environment(case: Case) -> dict[str, str]:
    return {name: value or "-" for name, value in to_play(case.plays, case.then).items()}


def wrong(case: Case, ended: Ended, left: list[str]) -> list[str]:
    """What was not said as the case demands; empty when everything was."""
    outputs = ended.outputs
    warned = sorted(each["type"] for each in _report(ended).get("warnings", ()))
    if case.type == "cancelled":  # the runner gives no time to read the log: it may be whole or not
        warned = [type_ for type_ in warned if type_ != "log_stream_lost"]
    checks: list[tuple[str, object, object]] = [
        ("conclusion", case.conclusion, outputs["conclusion"]),
        ("error_type", case.type, outputs["error_type"]),
        ("exit_code_source", case.source, outputs["exit_code_source"]),
        ("exit status", EXIT_OF[case.conclusion] if case.exits is None else case.exits, ended.exit_code),
        ("warnings", sorted(case.warned), warned),
        ("machines left", left if case.leaves else [], left),
        ("leads with", case.type, _lead(ended, case.type)),
    ]
    if case.says not in outputs["error_message"]:
        checks.append(("message", case.says, outputs["error_message"]))
    if case.code is not None:
        checks.append(("exit code", case.code, outputs["exit_code"]))
    return [f"{what}: {due!r} was due, but it is {is_!r}" for what, due, is_ in checks if due != is_]


def _report(ended: Ended) -> dict[str, Any]:
    file = ended.outputs["report_file"]
    document: dict[str, Any] = json.loads((ended.workspace / file).read_text()) if file else {}
    return document


def _lead(ended: Ended, type_: str) -> str:
    """The type whose title, id and reference the first error annotation bears; '' when there is none."""
    errors = ended.of_level("error")
    if not errors:
        return ""
    title = CATALOG[type_].title if type_ in CATALOG else "?"
    bears = (f"title={title}", type_, ended.outputs["error_ref"])
    return type_ if all(text in errors[0] for text in bears) else errors[0]
