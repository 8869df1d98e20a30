"""What a run gave back, read from documents that a machine wrote: odd ones cost nothing but themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flaude_action.evidence import Evidence
from flaude_action.outcome import Outcome, number
from flaude_action.verdict import judge

if TYPE_CHECKING:
    from pathlib import Path

HUGE = 10**400


@pytest.mark.parametrize("value", [HUGE, -HUGE, float("inf"), float("nan"), True, "1", None])
def test_what_json_cannot_hold_is_no_number(value: object) -> None:
    """A number that no float can hold is told as none, like one that is no number."""
    assert number(value) is None


@pytest.mark.parametrize("value", [0, -1, 2.5, 10**30])
def test_numbers_stay_as_they_are(value: float) -> None:
    """All others are passed on."""
    assert number(value) == value


@pytest.mark.parametrize(
    "text",
    ['{"files": 5}', '{"files": {"a": 1}}', "[]", "no json", "\xff", '{"files": [1, null]}', "[" * 5000],
)
def test_an_odd_changeset_lists_nothing(tmp_path: Path, text: str) -> None:
    """A changeset that is not one names no files."""
    path = tmp_path / "changeset.json"
    path.write_bytes(text.encode("latin-1"))
    evidence = Evidence(ours=True)
    assert Outcome(judge(evidence), evidence, "id", "ams", "i:1", files={"changeset": path}).changes() == []
