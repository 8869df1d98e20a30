"""Hostile answers of a Docker engine, which are those of registries and builds passed on."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from tests.support.hostile_http import (
    CHUNKED,
    PART,
    REFUSALS,
    TOO_LARGE,
    bombs,
    chunk,
    chunked,
    for_ever,
    hostile,
    once,
)

from flaude_action.build_progress import BuildProgress
from flaude_action.engine import Engine, EngineRefused
from flaude_action.errors import ImageError
from flaude_action.image_reference import parse_reference

if TYPE_CHECKING:
    from tests.support.hostile_http import Answer

VERSION = once(b'{"ApiVersion":"1.41"}')
IMAGE = parse_reference("127.0.0.1:5000/tools:1")
PEAK_MB = 40
STUCK_S = 20.0


async def pulled(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[str]:
    """What is told while the engine's answer to a pull is this; it takes little memory."""
    said: list[str] = []
    tracemalloc.start()
    try:
        async with hostile(VERSION, answer) as server, asyncio.timeout(STUCK_S):
            monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.address}")
            async with Engine(BuildProgress(said.append)) as engine:
                await engine.pull(IMAGE, None)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < PEAK_MB * 2**20
    return said


async def test_a_stream_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is cut into pieces."""
    status = b'{"status":"Pulled, and {more}"}\r\n'
    assert await pulled(monkeypatch, chunked(status[:9], status[9:] + b"\r\n" + status, status[:-2])) == [
        f"Pulling {IMAGE}",
        *["Pulled, and {more}"] * 3,
    ]


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of what the engine says why, and a registry may have said to it, the beginning is read."""
    with pytest.raises(EngineRefused) as refused:
        await pulled(monkeypatch, REFUSALS[name])
    assert len(refused.value.said) <= 64 * 1024


@pytest.mark.parametrize(
    "answer",
    [
        for_ever(CHUNKED + chunk(b'{"status":"'), chunk(PART)),
        chunked(b'{"error":"' + PART * 32 + b'"}\n'),
    ],
    ids=["endless", "2 MB"],
)
async def test_an_event_that_is_too_large(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    """It ends the pull."""
    with pytest.raises(EngineRefused, match="answer too large"):
        await pulled(monkeypatch, answer)


@pytest.mark.parametrize(
    "answer",
    [bombs("gzip, gzip", "gzip", "gzip"), chunked(b"[]\n"), chunked(b"<html>\n"), chunked(b"[" * 100_000)],
    ids=["a bomb", "a list", "no JSON", "deep"],
)
async def test_a_stream_that_is_none(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    """Whoever answers so is no engine."""
    with pytest.raises(ImageError) as raised:
        await pulled(monkeypatch, answer)
    assert raised.value.type == "engine_missing"


@pytest.mark.parametrize("name", ["endless, in chunks", "endless, to the end of the connection"])
async def test_an_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Also the first one, to the question which engine it is."""
    tracemalloc.start()
    async with hostile(TOO_LARGE[name]) as server, asyncio.timeout(STUCK_S):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.address}")
        with pytest.raises(ImageError) as raised:
            async with Engine(BuildProgress(lambda _: None)):
                raise AssertionError("it is no engine")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raised.value.type == "engine_missing"
    assert peak < PEAK_MB * 2**20
