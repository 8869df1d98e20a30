"""The corpus of ends: each is produced on localfly and must be told rightly by the real `main` verb."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from tests.support import corpus_agent, corpus_machine, corpus_step
from tests.support.corpus import Case, run, wrong

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.step import Ended

CASES = [*corpus_agent.CASES, *corpus_machine.CASES, *corpus_step.CASES]
AT_ONCE, SLOW_AT_ONCE = 4, 12
"""A run mostly waits for processes to start, a slow one for nothing at all."""

Seen = tuple[Case, "Ended", list[str]]


@pytest.fixture(scope="module")
def seen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Seen | BaseException]:
    """How the cases of all tests of this module that were asked for ended, several run at once."""
    cases: list[Case] = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec"):
            left_out = item.get_closest_marker("full") and os.environ.get("FLAUDE_TEST_FULL") != "1"
            cases += [] if left_out else [item.callspec.params["case"]]
    return asyncio.run(_run_all(cases, tmp_path_factory.mktemp("corpus")))


async def _run_all(cases: list[Case], folder: Path) -> dict[str, Seen | BaseException]:
    turns = {False: asyncio.Semaphore(AT_ONCE), True: asyncio.Semaphore(SLOW_AT_ONCE)}

    async def one(number: int, case: Case) -> Seen:
        async with turns[case.slow]:
            home = folder / str(number)
            home.mkdir()
            return (case, *await run(case, home))

    ended = await asyncio.gather(*(one(*numbered) for numbered in enumerate(cases)), return_exceptions=True)
    return {case.name: end for case, end in zip(cases, ended, strict=True)}


def named(cases: list[Case]) -> list[object]:
    return [pytest.param(case, id=case.name) for case in cases]


@pytest.mark.parametrize("case", named(CASES))
def test_end(case: Case, seen: dict[str, Seen | BaseException]) -> None:
    """Conclusion, type, source, exit status, warnings and lead annotation are what the evidence allows."""
    check(seen[case.name])


@pytest.mark.full
@pytest.mark.parametrize("case", named([*corpus_agent.OTHERS, *corpus_step.PATIENT]))
def test_end_that_takes_long(case: Case, seen: dict[str, Seen | BaseException]) -> None:
    """The recorded runs of which another of the same kind stands above, and what takes minutes."""
    check(seen[case.name])


def check(seen: Seen | BaseException) -> None:
    if isinstance(seen, BaseException):
        raise seen
    case, ended, left = seen
    print(ended.log)  # pytest shows it with a failure
    assert wrong(case, ended, left) == []


def test_the_corpus_is_large_and_its_names_are_its_own() -> None:
    """At least sixty ends, more failures than successes, every name once."""
    names = [case.name for case in CASES]
    assert len(names) >= 60
    assert len(names) == len(set(names))
    assert len([case for case in CASES if case.conclusion == "success"]) < len(names) / 2


def test_only_what_no_evidence_names_is_unknown() -> None:
    """`outcome_unknown` is due where Fly tells something that nobody can read, and nowhere else."""
    assert {case.name for case in CASES if case.type == "outcome_unknown"} == {
        "ours unknown key and no code",
        "foreign code of the VM beside a good marker",
        "foreign code in words beside a good marker",
        "foreign member nobody knows beside a good marker",
        "foreign memory flag in words beside a good marker",
    }
