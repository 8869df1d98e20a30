"""Answers that would fill the runner, from Fly, GitHub and a registry: the step is red, and small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.fly import localfly
from tests.support.hostile_http import COMPRESSED, REFUSALS, TOO_LARGE, hostile
from tests.support.step import Stage, launch, make_repository

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hostile_http import Answer
    from tests.support.step import Ended

PEAK_MB = 90
"""Of the whole process; what is sent would take more."""
WATCHED = """
import pathlib, resource, subprocess, sys
code = subprocess.call([sys.executable, "-m", "flaude_action", "main"])
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
ANSWERS = {
    "twice compressed": COMPRESSED["gzip twice"],
    "endless": TOO_LARGE["endless, in chunks"],
    "of 10 GB": TOO_LARGE["a length of 10 GB"],
}
HOSTS: dict[str, tuple[dict[str, str | None], dict[str, str], str]] = {
    # inputs and environment that lead to the server, and the type
    "fly": ({}, {"FLY_FLAPS_BASE_URL": "{0.url}"}, "machine_api_unavailable"),
    "github": ({"extra_repositories": "acme/other"}, {"GITHUB_API_URL": "{0.url}"}, "clone_failed"),
    "registry": ({"image": None, "base_image": "{0.address}/tools:1"}, {}, "image_pull_failed"),
}


async def step(folder: Path, host: str, answer: Answer) -> tuple[Ended, int]:
    """How the step ended whose `host` answers like that, and the largest memory it had, in MB."""
    inputs, environ, _ = HOSTS[host]
    peak = folder / "peak"
    async with hostile(answer) as server, localfly() as fly:
        here = Stage(fly, "http://127.0.0.1:9", "http://127.0.0.1:9", folder, make_repository(folder))
        inputs = {name: value and value.format(server) for name, value in inputs.items()}
        variables = here.variables(inputs, {name: value.format(server) for name, value in environ.items()})
        ended = await (await launch(variables, "-c", WATCHED, str(peak))).ended()
        assert server.asked
        assert await fly.requests("POST") == []
    return ended, int(peak.read_text()) // 1024


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_too_much(tmp_path: Path, host: str, name: str) -> None:
    """The step says which service's answer was no good and how, and takes no more memory than others."""
    ended, peak_mb = await step(tmp_path, host, ANSWERS[name])
    assert ended.exit_code == 1
    assert ended.outputs["conclusion"] == "failure"
    assert ended.outputs["error_type"] == HOSTS[host][2]
    [error] = ended.of_level("error")
    assert ("answer compressed" if "compressed" in name else "answer too large") in error
    assert peak_mb < PEAK_MB


@pytest.mark.parametrize("host", ["fly", "registry"])
async def test_a_refusal_with_a_bomb(tmp_path: Path, host: str) -> None:
    """HTTP 403 is that, whatever comes with it."""
    ended, peak_mb = await step(tmp_path, host, REFUSALS["a bomb in a bomb"])
    assert ended.outputs["conclusion"] == "failure"
    assert "403" in ended.log
    assert peak_mb < PEAK_MB
