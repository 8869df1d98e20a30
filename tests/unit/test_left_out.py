"""What the machine says it left out, in our words; odd rows cost nothing but themselves."""

from __future__ import annotations

from typing import Any

import pytest

from flaude_action import left_out
from flaude_action.errors import FlaudeError

CORE = {"path": "core.1234", "why": "too_large", "size": 70_000_000}


def result(*rows: Any, count: Any = None) -> dict[str, Any]:
    return {"changeset": {"left_out": list(rows), "left_out_count": len(rows) if count is None else count}}


def test_files_are_named_with_what_to_type() -> None:
    """Path, size and why of the first five; it is the user's turn."""
    rows = [CORE, *({"path": f"n{number}", "why": "name_refused", "size": 0} for number in range(7))]
    error = FlaudeError("collect_failed", **left_out.failure(result(*rows, count=2000)))
    assert error.details == (
        "Left out of the change: `core.1234` (66.8 MiB, too large), `n0` (git takes no such name),"
        " `n1` (git takes no such name), `n2` (git takes no such name), `n3` (git takes no such name)"
        " and 1995 more."
    )
    assert error.retryable == "user"
    assert "`.gitignore`" in error.hint
    assert "in the patch" in error.message


@pytest.mark.parametrize(
    "odd",
    [{}, {"changeset": None}, {"changeset": []}, result(), result(CORE, count=0), result(CORE, count=True),
     result(CORE, count="1")],
)  # fmt: skip
def test_nothing_was_left_out(odd: dict[str, Any]) -> None:
    """Without a number of left out files nothing is said."""
    assert left_out.failure(odd) == {}
    assert left_out.notices(odd, "") == ()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"path": "a`b\n::x", "why": "unreadable", "size": 5}, "`a'b ::x` (5 bytes, not readable)"),
        ({"path": "x" * 900, "why": "new word", "size": 4 << 30}, "`" + "x" * 59 + "…` (4 GiB)"),
        ({"path": "a", "size": True}, "`a`"),
        ({"path": "a", "size": 10**400}, "`a`"),
        ({"path": "a", "size": "5", "why": ["too_large"]}, "`a`"),
        ("no row", "1"),
    ],
)  # fmt: skip
def test_odd_rows(row: Any, words: str) -> None:
    """A path cannot leave its quotes, and what is no number or no known word is not told."""
    assert left_out.failure(result(row))["details"] == f"Left out of the change: {words}."


def test_a_run_with_another_verdict_notes_it() -> None:
    """Once: what the failure says already is not repeated."""
    (notice,) = left_out.notices(result(CORE), "Something else.")
    assert "core.1234" in notice
    assert left_out.notices(result(CORE), f"{notice} `memory_mb` was 512.") == ()
