"""Every failure as its reader meets it, kept in files that a stranger can read.

`FLAUDE_UPDATE_GOLDEN=1` writes the files again; then read the difference.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.support.ends import ENDS
from tests.support.engines import ROOT
from tests.support.failures import stable, tell

from flaude_action.catalog import CATALOG, WARNINGS
from flaude_action.verdict import judge

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = ROOT / "tests" / "golden"
UPDATE = os.environ.get("FLAUDE_UPDATE_GOLDEN") == "1"


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("type_", CATALOG)
def test_golden(type_: str, tmp_path: Path) -> None:
    """The annotations and the summary of a step that ended with this failure are those of the golden file."""
    told = tell(type_, tmp_path)
    lines = []
    for each in told.annotations:
        given = each.properties
        place = "".join(f" {name}={given[name]}" for name in ("file", "line", "col") if name in given)
        lines += [f"[{each.name}]{place} {given['title']}", each.data, ""]
    compare(f"{type_}.md", stable("\n".join([*lines, "=" * 72, "", told.summary])))


def test_no_golden_of_a_type_that_is_gone() -> None:
    """There is a golden file for every type, and for nothing else."""
    assert {path.stem for path in GOLDEN.glob("*.md")} == set(CATALOG)


@pytest.mark.parametrize("type_", ENDS)
def test_what_is_told_can_happen(type_: str, tmp_path: Path) -> None:
    """The verdict gives every type to the evidence that its golden shows; warnings are of good runs."""
    verdict, told = judge(ENDS[type_].evidence), tell(type_, tmp_path)
    assert verdict.type == ("" if type_ in WARNINGS else type_)
    assert [each.properties["title"] for each in told.annotations].count(CATALOG[type_].title) >= 1
    if type_ in WARNINGS:
        assert told.outputs["conclusion"] == "success"


def test_what_no_verdict_gives_comes_before_the_machine() -> None:
    """The failures without evidence are those of the steps before."""
    phases = {CATALOG[type_].phase for type_ in CATALOG.keys() - ENDS.keys()}
    assert phases == {"config", "auth", "create", "image", "cancelled", "any"}


@pytest.mark.parametrize("type_", CATALOG)
def test_the_lead_says_what_a_reader_needs(type_: str, tmp_path: Path) -> None:
    """One annotation leads: what broke, whose turn it is, what to do, where more is; it fits."""
    told = tell(type_, tmp_path)
    lead, kind = told.annotations[0], CATALOG[type_]
    assert lead.name == ("warning" if type_ in WARNINGS else "error")
    assert lead.properties["title"] == kind.title
    assert "file" not in lead.properties
    assert kind.url in lead.data
    assert len(lead.data) <= 4096
    assert "<app>" not in lead.data
    if type_ not in WARNINGS:
        assert ("\nYour turn: " in lead.data) == (kind.retryable == "user")
        assert told.outputs["error_ref"] in lead.data
        assert (told.outputs["error_type"], told.outputs["retryable"]) == (type_, kind.retryable)
    assert kind.title.lower() in told.summary.lower() or type_ in WARNINGS
    assert kind.url in told.summary
