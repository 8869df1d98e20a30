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


@pytest.mark.parametrize(
    ("told", "paths"),
    [
        ({"files": 2, "paths": ["a", "b c"]}, ["a", "b c"]),
        ({"files": 2, "paths": ["a", 7, None, "b"]}, ["a", "b"]),
        ({"files": 2, "paths": "a"}, []),
        ({"files": 2}, []),
        ([], []),
        (None, []),
    ],
)
def test_what_changed_is_also_told_by_the_result(told: object, paths: list[str]) -> None:
    """Where the changeset is lost, the paths are known all the same, and no more than they."""
    evidence = Evidence(ours=True, result={"ok": True, "changeset": told})
    outcome = Outcome(judge(evidence), evidence, "id", "ams", "i:1")
    assert outcome.changed_files() == paths
    assert all((row["status"], row["size"]) == ("", None) for row in outcome.changes())


def test_many_files_with_secrets_are_named_in_one_sentence() -> None:
    """The first five, and how many more; no name leaves its quotes."""
    names = tuple(f"f{number}" for number in range(7))
    evidence = Evidence(ours=True, result={"ok": True, "exit_code": 0}, secret_in_changes=True)
    outcome = Outcome(judge(evidence), evidence, "id", "ams", "i:1", secret_in=names)
    failure = outcome.failure([])
    assert failure is not None
    assert failure.type == "secret_in_changes"
    assert failure.details == "It stands in `f0`, `f1`, `f2`, `f3`, `f4` and 2 more."
    odd = Outcome(judge(evidence), evidence, "id", "ams", "i:1", secret_in=("a`b\n::error::c",))
    assert odd.stands_in() == "It stands in `a'b ::error::c`."


LEFT_OUT = {"left_out_count": 1, "left_out": [{"path": "core", "why": "too_large", "size": 7 << 20}]}


@pytest.mark.parametrize("here", [True, False])
def test_what_was_left_out_leads_where_the_rest_arrived(tmp_path: Path, here: bool) -> None:
    """Without the patch nothing is said of a rest that would be in it."""
    error = {"type": "collect_failed", "details": "Paths left out of the change: 1."}
    evidence = Evidence(
        ours=True, result={"ok": False, "exit_code": 1, "error": error, "changeset": LEFT_OUT}
    )
    files = {"patch": tmp_path / "patch"} if here else {}
    failure = Outcome(judge(evidence), evidence, "id", "ams", "i:1", files=files).failure([])
    assert failure is not None
    assert ("what else was changed is in the patch" in failure.message) is here
    assert ("`core` (7 MiB, too large)" in failure.details) is here
    assert failure.retryable == ("user" if here else "runner")
