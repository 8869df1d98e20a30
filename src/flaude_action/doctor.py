"""The verb `doctor`: what this action relies on at Fly, tried on your own app with one short machine.

The machine runs our image but gets no job and no secret, and is destroyed at the end. What is tried on it is
`doctor_probes`'.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from flaude_action.credential_forms import fly_forms, not_covered
from flaude_action.doctor_probes import WHEN_IT_IS_GONE, WHILE_IT_LIVES, Finding, Subject, tried
from flaude_action.errors import FlaudeError, FlyAPIError
from flaude_action.fly import Fly
from flaude_action.fly_access import base_urls
from flaude_action.input_values import app_name, image_reference, region_codes
from flaude_action.launch import Launch, metadata, new_nonce, run_digest
from flaude_action.machine import Machine
from flaude_action.machine_config import MachineConfig
from flaude_action.redaction import Redactor
from flaude_action.refused import Refused
from flaude_action.run_report import for_app
from flaude_action.untrusted import one_line
from flaude_action.waiting import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BOOT_S = 180.0
LIFETIME_S = 300.0

HELD, DID_NOT_HOLD, UNKNOWN = 0, 1, 2
"""The exit codes. What could not be tried is not taken to hold."""


async def examine(app: str, image: str, region: str, environ: Mapping[str, str], out: TextIO) -> int:
    """Try everything and print the table.

    0 when all held, 1 when something did not, 2 when nothing, or not everything, could be tried.
    """
    token = environ.get("FLY_API_TOKEN", "")
    if not token:
        out.write("Set FLY_API_TOKEN to the token the action would use.\n")
        return UNKNOWN
    if problems := _problems(app, image, region):
        out.write("".join(f"{problem}\n" for problem in problems))
        return UNKNOWN
    hide = Redactor(not_covered(fly_forms(token))).redact
    try:
        flaps, api = base_urls(environ)
        async with Fly(token, flaps_url=flaps, api_url=api, user_agent="flaude-action doctor") as fly:
            await fly.get_app(app)
            findings = await _examine(fly, app, image, region, out, hide)
    except FlaudeError as error:
        out.write(hide(_told(error, app)))
        return UNKNOWN
    out.write(hide(table(findings)))
    return exit_code(findings)


def _problems(app: str, image: str, region: str) -> list[str]:
    """What is wrong with the arguments, by the rules of the step's inputs."""
    given = (
        ("--app", app_name, app),
        ("--image", image_reference, image),
        ("--region", region_codes, region),
    )
    problems = []
    for option, read, text in given:
        try:
            read(text)
        except Refused as problem:
            problems.append(f"{option}: {problem.message} {problem.hint}")
    return problems


async def _examine(
    fly: Fly, app: str, image: str, region: str, out: TextIO, hide: Callable[[str], str]
) -> list[Finding]:
    nonce, run = new_nonce(), run_digest("doctor", time.time())
    config = MachineConfig(image=image, vm_cpus=1, vm_memory_mb=1024)
    body = config.create_config(config.guest_env(nonce, LIFETIME_S), metadata(run, nonce, LIFETIME_S))
    machine = Machine(fly, app, Launch(run, nonce, body, regions=(region or None,)))
    subject = Subject(fly, app, machine, nonce)
    try:
        async with machine:
            where = one_line(machine.record.region)
            out.write(hide(f"Machine {machine.id} is created in {where}; it lives for about a minute.\n"))
            out.flush()
            await _start(machine, image)
            findings = [await tried(probe, subject) for probe in WHILE_IT_LIVES]
    finally:
        if machine.cleanup.startswith("leaked"):
            out.write(hide(f"Destroy it yourself: fly machine destroy --force {machine.id} -a {app}\n"))
    gone = Finding(
        "a machine goes when told", machine.cleanup in ("destroyed", "already_gone"), machine.cleanup
    )
    return [*findings, gone, await tried(WHEN_IT_IS_GONE, subject)]


async def _start(machine: Machine, image: str) -> None:
    """Wait until it runs. Raises FlaudeError when it never does."""
    try:
        state = await machine.started(Deadline.after(BOOT_S))
    except FlyAPIError as error:
        if error.status_code != 404:
            raise
        state = "destroyed"
    if state != "started":
        raise FlaudeError(
            "machine_failed",
            f"The machine is {one_line(state)} and never ran: Fly could not pull or start the image {image}.",
            hint=(
                "Check the name and tag after `--image`, that Fly may read it (a public image, or one in "
                "registry.fly.io/<app>) and that it is for linux/amd64. `fly logs -a <app>` has Fly's words."
            ),
        )


def _told(error: FlaudeError, app: str) -> str:
    """What went wrong and what to do; with Fly's own words when it was Fly that refused."""
    lines = [f"{error.message} {error.details}".strip()]
    if isinstance(error, FlyAPIError):
        lines.append(f"Fly's words: {one_line(error.detail, 400)}")
    lines.append(for_app(error.hint, app))
    return "\n".join(lines) + "\n"


def table(findings: list[Finding]) -> str:
    """The findings as aligned lines."""
    words = {True: "held", False: "DID NOT HOLD", None: "not tried"}
    width = max(len(finding.assumption) for finding in findings)
    rows = [
        f"{finding.assumption:<{width}}  {words[finding.held]:<12}  {finding.seen}" for finding in findings
    ]
    return "\n".join(rows) + "\n"


def exit_code(findings: list[Finding]) -> int:
    """What did not hold outweighs what was not tried."""
    held = {finding.held for finding in findings}
    return DID_NOT_HOLD if False in held else UNKNOWN if None in held else HELD
