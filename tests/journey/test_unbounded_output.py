"""A machine that prints for ever, or what is made to cost time: the step hears a cancel, and stays small."""

from __future__ import annotations

import asyncio
import gc
import importlib
import io
import json
import pkgutil
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.guest import INIT, RESULT
from tests.support.step import CREDENTIAL, ROOT, Ended, Stage, launch, process_images, stage

import flaude_action
from flaude_action import action
from flaude_action.kept_files import EVENT_MAX_BYTES
from flaude_action.log_caps import Cap, LogCaps
from flaude_action.report import Report
from flaude_action.waiting import Cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.claude

OUTPUTS = list(yaml.safe_load((ROOT / "action.yml").read_text())["outputs"])
PUBLIC = CREDENTIAL[:8]
"""How every such token begins."""
COSTLY = PUBLIC * (3 * 1024 * 1024 // len(PUBLIC))
SETUP = f"python3 -c \"print('{PUBLIC}' * {len(COSTLY) // len(PUBLIC)})\""
AGENT = """#!/bin/sh
[ "$1" != --version ] || exec echo "2.1.330 (Claude Code)"
cat > /dev/null
echo played > played.txt
cat {events}
exec {then}
"""


def said(text: str) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}


@asynccontextmanager
async def acting(folder: Path, *texts: str, then: str = "true") -> AsyncIterator[Stage]:
    """A stage whose agent says just this, in one event each, and then ends well or does `then`."""
    events = [INIT, *map(said, texts), *([RESULT] if then == "true" else [])]
    (folder / "events").write_text("".join(json.dumps(event) + "\n" for event in events))
    agent = folder / "claude"
    agent.write_text(AGENT.format(events=folder / "events", then=then))
    agent.chmod(0o755)
    async with stage(folder, images=process_images(folder, agent)) as here:
        yield here


def transcript(ended: Ended) -> list[Any]:
    file = ended.workspace / ended.outputs["execution_file"]
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_what_costs_time_costs_little(tmp_path: Path) -> None:
    """What repeats how a token begins, in the log and in the transcript, is worked through; an event that is
    too long is counted."""
    short = PUBLIC * 20_000
    async with acting(tmp_path, COSTLY, short, f"{short} {CREDENTIAL}") as here:
        ended = await here.step(setup=SETUP, show_full_output="true")
    assert (ended.outputs["conclusion"], ended.exit_code) == ("success", 0)
    assert ended.outputs["log_complete"] == "true"
    kept = transcript(ended)
    size = len(json.dumps(said(COSTLY)))
    assert kept[1] == {"type": "flaude", "subtype": "line_cut", "bytes": size}
    assert kept[2] == said(short[: -len(PUBLIC)] + "***")
    assert CREDENTIAL not in json.dumps(kept)
    assert kept[-1] == RESULT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("until", ["Claude Code is at work", "| Now."])
async def test_a_cancel_is_heard_through_it(tmp_path: Path, number: signal.Signals, until: str) -> None:
    """While the log is full of it, or has been: the step ends in time, outputs are set, nothing is left."""
    async with acting(tmp_path, COSTLY, "Now.", then="sleep 600") as here:
        running = await here.start(setup=SETUP, show_full_output="true")
        await running.until(until)
        running.signal(number)
        began = time.monotonic()
        ended = await running.ended()
        seconds = time.monotonic() - began
        left = await here.machines_left()
    assert (ended.exit_code, ended.outputs["conclusion"]) == (130, "cancelled")
    assert list(ended.outputs) == OUTPUTS
    assert seconds < 6
    assert left == []


async def test_a_cancel_is_heard_while_a_transcript_is_copied(tmp_path: Path) -> None:
    """The run is over, and what is no work is not worth the wait: everything is told in time."""
    async with acting(tmp_path, *[PUBLIC + "\u00e9\n" + PUBLIC * (EVENT_MAX_BYTES // 10)] * 20) as here:
        running = await here.start()
        await running.until("Verdict: success")
        running.signal(signal.SIGINT)
        began = time.monotonic()
        ended = await running.ended()
        seconds = time.monotonic() - began
    assert (ended.exit_code, ended.outputs["conclusion"]) == (0, "success")
    assert seconds < 6
    assert json.loads(ended.outputs["changed_files"]) == ["played.txt"]
    assert "+played" in (ended.workspace / ended.outputs["patch_file"]).read_text()


async def test_nothing_blocks_the_loop(tmp_path: Path) -> None:
    """The step's own loop gets its turn all the time, whatever comes: as its thread's time tells."""
    turns = PUBLIC * 100_000
    wrapped = "\n".join(PUBLIC) * 500
    async with acting(tmp_path, COSTLY, turns, wrapped, "\n" * 3000, "x\u200b" * 300_000) as here:
        environ = here.variables({"setup": SETUP, "show_full_output": "true"}, {})
        for name in sorted(module.name for module in pkgutil.iter_modules(flaude_action.__path__)):
            if name != "__main__":  # loading takes time as well, but nobody can make it more
                importlib.import_module(f"flaude_action.{name}")
        gc.collect()
        gc.freeze()  # or the collector looks at all that the tests have made
        longest = asyncio.ensure_future(longest_turn(ended := asyncio.Event()))
        code = await action.main(environ, Report(environ, io.StringIO()), Cancellation())
        ended.set()
        gc.unfreeze()
    assert code == 0
    assert await longest < 0.1  # 50 ms are promised; others may be busy beside us


async def longest_turn(until: asyncio.Event) -> float:
    """Seconds of its thread's time that the loop was busy without a turn for us."""
    longest, last = 0.0, time.thread_time()
    while not until.is_set():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


SMALL = LogCaps(file=Cap(40_000, 4_000), shown=Cap(10_000, 2_000, 100))
STEP = """
import asyncio, os, sys
from flaude_action.action import main
from flaude_action.log_caps import Cap, LogCaps
from flaude_action.report import Report
from flaude_action.waiting import Cancellation

async def step():
    return await main(os.environ, Report(os.environ, sys.stdout, {caps!r}), Cancellation())

sys.exit(asyncio.run(step()))
"""


def check_caps(ended: Ended, caps: LogCaps) -> None:
    """Log file and step log are within their caps, hold the log's end, and say once that it is cut."""
    written = (ended.workspace / ended.outputs["log_file"]).read_bytes()
    assert caps.file.head < len(written) < caps.file.head + caps.file.tail + 200
    assert len(ended.log.encode()) < caps.shown.head + caps.shown.tail + 20_000
    assert written.count(b"are left out here") == 1
    for told in ("too long for its file", "too long for this page", "lines are not shown here"):
        assert ended.log.count(told) == 1
    assert b"\n| the end\n" in written[-caps.file.tail :]
    assert "\n| the end\n" in ended.log
    assert ended.outputs["log_tail"].count("| the end") == 1
    assert ended.outputs["log_complete"] == "true"


async def test_a_log_that_does_not_end(tmp_path: Path) -> None:
    """`yes` in `setup`: neither the runner's disk nor the step's page is full of it."""
    async with acting(tmp_path, "Done.") as here:
        variables = here.variables({"setup": "(yes || true) | head -c 40000; echo the end"}, {})
        ended = await (await launch(variables, "-c", STEP.format(caps=SMALL))).ended()
    check_caps(ended, SMALL)


@pytest.mark.full
async def test_a_log_that_does_not_end_at_its_true_caps(tmp_path: Path) -> None:
    """The same with what everybody gets."""
    line = "y" * 4000
    async with acting(tmp_path, "Done.") as here:
        ended = await here.step(
            setup=f"(yes {line} || true) | head -c 60M; echo; echo the end", timeout="30m"
        )
    check_caps(ended, LogCaps())
