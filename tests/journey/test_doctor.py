"""The verb `doctor` as its user meets it: the table's rows, what ends it before that, nothing left."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.fly import APP, TOKEN, LocalFlyHandle, localfly
from tests.support.side_by_side import side_by_side
from tests.support.step import IMAGE, ROOT, process_images

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

GUEST = "our guest answers over exec"
ROOT_EXEC = "exec runs as root"
STDIN = "exec takes 256 KiB of stdin"
OUTPUT = "exec answers 256 KiB whole"
LOGS = "this token may read logs"
LOG_LINE = "a log line of 4 KiB arrives whole"
FLY_API = "/.fly/api is closed to others than root"
EXIT_EVENT = "the exit event has a shape we know"
GONE = "a machine goes when told"
RECORD = "a destroyed machine's record answers for a while"
ROWS = (GUEST, ROOT_EXEC, STDIN, OUTPUT, LOGS, LOG_LINE, FLY_API, EXIT_EVENT, GONE, RECORD)

QUICK = {"destroyed_retention_s": 2.5, "log_line_max_bytes": 100_000}
"""Nothing that the doctor would wait long for."""


class Examined:
    """How it ended: the exit code, what was said, the table's rows as (verdict, what was seen)."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        print(done.stdout, done.stderr)  # pytest shows it with a failure
        self.code, self.said = done.returncode, done.stdout
        assert done.stderr == ""
        row = re.compile(r"^(.+?) {2,}(held|DID NOT HOLD|not tried) +(.*)$", re.MULTILINE)
        self.rows = {name: (verdict, seen) for name, verdict, seen in row.findall(self.said)}

    def verdicts(self) -> dict[str, str]:
        return {name: verdict for name, (verdict, _) in self.rows.items()}


def command(here: LocalFlyHandle, *words: str) -> list[str]:
    """Options given twice count as the last says."""
    return [sys.executable, "-m", "flaude_action", "doctor", "--app", here.app, "--image", IMAGE, *words]


def environment(here: LocalFlyHandle) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "FLY_API_TOKEN": TOKEN,
        "FLY_FLAPS_BASE_URL": here.flaps_url,
        "FLY_API_BASE_URL": here.api_url,
    }


async def machines_left(here: LocalFlyHandle) -> list[str]:
    machines = (await here.call("GET", "/machines")).json()
    return [machine["id"] for machine in machines if machine["state"] != "destroyed"]


async def examine(here: LocalFlyHandle, *words: str, environ: Mapping[str, str] | None = None) -> Examined:
    """Run the verb; it must leave no machine, however it ends."""
    done = await asyncio.to_thread(
        subprocess.run,
        command(here, *words),
        env=environment(here) | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert await machines_left(here) == []
    return Examined(done)


@asynccontextmanager
async def fly(folder: Path, **settings: Any) -> AsyncIterator[LocalFlyHandle]:
    """A Fly whose machines are processes with our guest; there is no work for a Claude Code."""
    images = process_images(folder, "/none")
    async with localfly(images=images, **{"tokens": [TOKEN], **QUICK, **settings}) as handle:
        yield handle


async def created(here: LocalFlyHandle) -> int:
    return len(await here.requests("POST", "/machines"))


@pytest.mark.docker
async def test_all_held(machine_image: str) -> None:
    """On a container of our image everything holds: every row says so, and the exit code is 0."""
    async with localfly(backend="docker", tokens=[TOKEN], **QUICK) as here:
        examined = await examine(here, "--image", machine_image)
    assert examined.verdicts() == dict.fromkeys(ROWS, "held")
    assert examined.code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="processes are only root's when the tests are")
async def test_all_held_by_processes(tmp_path: Path) -> None:
    """The same rows, in the same order, for machines that are processes."""
    async with fly(tmp_path) as here:
        examined = await examine(here)
    assert list(examined.rows.items())[:2] == [(GUEST, ("held", "it did")), (ROOT_EXEC, ("held", "uid 0"))]
    assert tuple(examined.rows) == ROWS
    assert set(examined.verdicts().values()) == {"held"}
    assert examined.code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="processes are only root's when the tests are")
async def test_a_log_with_junk_in_it(tmp_path: Path) -> None:
    """Entries of another shape are no lines; those that come after them are."""
    async with fly(tmp_path) as here:
        junk = {"data": ["junk", {"attributes": 3}], "meta": {}}
        await here.fault("/logs", status=200, action="respond", body=junk, times=2)
        examined = await examine(here)
    assert examined.verdicts()[LOG_LINE] == "held"
    assert examined.code == 0


async def test_logs_refused(tmp_path: Path) -> None:
    """A token that may not read logs: that does not hold, what needs them is not tried, the rest is told."""
    async with fly(tmp_path, logs_readable=False) as here:
        examined = await examine(here)
    verdict, seen = examined.rows[LOGS]
    assert verdict == "DID NOT HOLD"
    assert seen.startswith("HTTP 401: ")
    assert seen.endswith("; runs work, but their log stays empty")
    assert examined.rows[LOG_LINE][0] == "not tried"
    assert examined.rows[EXIT_EVENT][0] == "held"
    assert examined.code == 1


@pytest.mark.full
async def test_a_fly_on_which_one_thing_does_not_hold(tmp_path: Path) -> None:
    """That row says so and what was seen instead, in Fly's own words where there are any."""

    async def check(place: Path, settings: dict[str, Any], row: str, seen: str) -> None:
        async with fly(place, **settings) as here:
            examined = await examine(here)
        assert examined.rows[row] == ("DID NOT HOLD", seen)
        assert examined.code == 1

    too_large = "HTTP 413: stdin of 262144 bytes is larger than 1000"
    cases = (
        ({"exec_stdin_max_bytes": 1000}, STDIN, too_large),
        ({"exec_output_max_bytes": 70_000}, OUTPUT, "64 KiB came whole"),
        ({"exit_event_shape": "none"}, EXIT_EVENT, "no event tells of the exit"),
        ({"destroyed_retention_s": 0.0}, RECORD, "HTTP 404 after 0 s"),
    )
    await side_by_side(
        tmp_path,
        {row: partial(check, settings=settings, row=row, seen=seen) for settings, row, seen in cases},
    )


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="processes are only root's when the tests are")
async def test_a_probe_that_fails_costs_its_row_alone(tmp_path: Path) -> None:
    """When Fly refuses one call the table is there with that row not tried; unknown is not success: 2."""

    async def check(place: Path, path: str, method: str, skip: int, row: str) -> None:
        async with fly(place) as here:
            refusal = {"error": "::error::no\u202e"}
            await here.fault(path, method, skip=skip, times=9, status=403, body=refusal)
            examined = await examine(here)
        assert examined.rows[row] == ("not tried", "HTTP 403: ::error::no\\u202e")
        if row != OUTPUT:
            assert {name for name, verdict in examined.verdicts().items() if verdict != "held"} == {row}
            assert examined.code == 2

    cases = (
        ("/exec$", "POST", 3, OUTPUT),
        ("/stop$", "POST", 0, EXIT_EVENT),
        ("/events", "GET", 0, EXIT_EVENT),
    )
    await side_by_side(
        tmp_path,
        {
            path: partial(check, path=path, method=method, skip=skip, row=row)
            for path, method, skip, row in cases
        },
    )


async def test_missing_image(tmp_path: Path) -> None:
    """An image that nobody has ends it at once; the image and what to do are named, not the exec call."""
    async with fly(tmp_path) as here:
        examined = await examine(here, "--image", "registry.fly.io/nobody/nothing:7")
        assert await here.requests("POST", "/exec") == []
    assert "could not pull or start the image registry.fly.io/nobody/nothing:7." in examined.said
    assert f"fly logs -a {APP}" in examined.said
    assert examined.rows == {}
    assert examined.code == 2


async def test_image_refused_by_fly(tmp_path: Path) -> None:
    """The same from a Fly that looks before it makes a machine: its own words are shown."""
    async with fly(tmp_path, missing_image="refused") as here:
        examined = await examine(here, "--image", "nobody/nothing:7")
    assert "Fly's words: " in examined.said
    assert "failed to get manifest nobody/nothing:7" in examined.said
    assert examined.code == 2


async def test_region_refused(tmp_path: Path) -> None:
    """A region that Fly has closed: the advice to read Fly's own words is followed by them."""
    async with fly(tmp_path, regions=["iad"]) as here:
        examined = await examine(here, "--region", "ams")
    assert "Fly's words: " in examined.said
    assert "ams" in examined.said.partition("Fly's words: ")[2].splitlines()[0]
    assert examined.code == 2


async def test_wrong_token(tmp_path: Path) -> None:
    """A token that Fly refuses: the advice names the app, the token is not shown, no machine is made."""
    async with fly(tmp_path) as here:
        examined = await examine(here, environ={"FLY_API_TOKEN": "FlyV1 fm2_of_another_app"})
        assert await created(here) == 0
    assert f"fly tokens create deploy -a {APP} " in examined.said
    assert "fm2_of_another_app" not in examined.said
    assert examined.code == 2


async def test_unknown_app(tmp_path: Path) -> None:
    """An app that is not there: the line that makes it can be copied."""
    async with fly(tmp_path) as here:
        examined = await examine(here, "--app", "no-such-app")
    assert "`fly apps create no-such-app --network no-such-app`" in examined.said
    assert examined.code == 2


@pytest.mark.parametrize("name", ["FLY_FLAPS_BASE_URL", "FLY_API_BASE_URL"])
async def test_wrong_url(tmp_path: Path, name: str) -> None:
    """A base URL that is none: the environment variable is named, not an input."""
    async with fly(tmp_path) as here:
        examined = await examine(here, environ={name: "foo"})
    assert f"{name} is not a URL" in examined.said
    assert "`with:`" not in examined.said
    assert examined.code == 2


@pytest.mark.parametrize(
    ("option", "text"),
    [("--app", ""), ("--app", ".."), ("--image", ""), ("--image", "docker://a b"), ("--region", "nowhere")],
)
async def test_wrong_argument(tmp_path: Path, option: str, text: str) -> None:
    """What cannot be an app, an image or a region is told before Fly is asked anything."""
    async with fly(tmp_path) as here:
        examined = await examine(here, option, text)
        asked = await here.requests()
    assert examined.said.startswith(f"{option}: ")
    assert [each for each in asked if each["headers"].get("user-agent") == "flaude-action doctor"] == []
    assert examined.code == 2


async def test_no_token(tmp_path: Path) -> None:
    """Without a token it says where it takes it from."""
    async with fly(tmp_path) as here:
        examined = await examine(here, environ={"FLY_API_TOKEN": ""})
    assert "FLY_API_TOKEN" in examined.said
    assert examined.code == 2


async def test_stopped_in_the_middle(tmp_path: Path) -> None:
    """Ctrl-C takes the machine along."""
    async with fly(tmp_path) as here:
        process = await asyncio.create_subprocess_exec(
            *command(here),
            env=environment(here),
            stdout=asyncio.subprocess.PIPE,
            # Whoever runs the tests in the background has SIGINT ignored, and every child with it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        assert b" is created in " in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert await machines_left(here) == []
