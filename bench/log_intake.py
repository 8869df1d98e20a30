"""How many log lines a second go from a page's bytes to step log, file and tail on one core, and how flat."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flaude_action.fly_models import LogsPage
from flaude_action.logs import LogFollower, Pace
from flaude_action.report import Report

if TYPE_CHECKING:
    from flaude_action.fly import Fly

PAGE_LINES = 100
MACHINE = "1857156b526dd8"
SECRETS = ("fm2_" + "lJPECAAAAAAAAAAA" * 12, "sk-ant-" + "api03-AAAAAAAA" * 6)
ENTRY = (
    b'{"id":"01KQ%d","type":"log","attributes":{"timestamp":"2026-11-21T10:00:00.%09dZ","message":'
    b'"[agent] Edited src/module_%d.py, then ran the tests: 128 passed in 3.21s","level":"info",'
    b'"instance":"1857156b526dd8","region":"cdg","meta":{"instance":"1857156b526dd8","region":"cdg",'
    b'"event":{"provider":"app"}}}}'
)


class PagesOfBytes:
    """In place of `Fly`: the pages a logs host would send, as bytes, without the network."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._sent = 0

    async def logs_page(self, app: str, instance: str = "", next_token: str = "") -> LogsPage:
        if self._sent >= self._lines:
            return LogsPage([], next_token)
        return LogsPage.parse(json.loads(self._page(), parse_float=str))

    def _page(self) -> bytes:
        start, self._sent = self._sent, self._sent + PAGE_LINES
        entries = b",".join(ENTRY % (number, number % 10**9, number) for number in range(start, self._sent))
        cursor = 1_790_000_000_000_000_000 + self._sent
        return b'{"data":[' + entries + b'],"meta":{"next_token":"%d"}}' % cursor


def measure(lines: int = 300_000) -> dict[str, float]:
    """`{lines, seconds, lines_per_s, peak_rss_mb}`; making the pages and hiding two secrets is included."""
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as step_log:
        report = Report({}, step_log)
        report.mask(SECRETS)
        with (Path(folder) / "log").open("wb") as file:
            report.log_to(file)
            start = time.perf_counter()
            read = asyncio.run(_read(report, lines))
            seconds = time.perf_counter() - start
    return {
        "lines": read,
        "seconds": round(seconds, 3),
        "lines_per_s": round(read / seconds),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


async def _read(report: Report, lines: int) -> int:
    """Read so many lines, or as many more as a page has; how many it were."""
    read = 0
    follower = LogFollower(cast("Fly", PagesOfBytes(lines)), "app", MACHINE, pace=Pace(drain=0.0))
    async for page in follower.pages():
        report.machine_lines([line.message for line in page])
        read += len(page)
        if read >= lines:
            follower.end()
    return read
