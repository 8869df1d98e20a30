"""docs/compared-with-flaude.md says of us what the corpus demands of us."""

from __future__ import annotations

import pytest
from bench.compare_flaude import CASES, COLUMNS, COMPARED, HEAD, PAGE, row, we_say

ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]


def test_the_page_has_every_compared_end() -> None:
    """The page begins as it would be written today and has one row an end, in order."""
    assert PAGE.read_text().startswith(HEAD)
    assert ROWS[0] == row(*COLUMNS)
    assert [line.split(" | ")[0].removeprefix("| ") for line in ROWS[2:]] == list(COMPARED.values())
    assert len(COMPARED) >= 10


@pytest.mark.parametrize("name", COMPARED)
def test_our_column_is_what_the_corpus_proves(name: str) -> None:
    """tests/journey/test_corpus.py runs the same case and sees that the step says this."""
    [line] = [line for line in ROWS if line.startswith(f"| {COMPARED[name]} |")]
    assert line.endswith(f" | {we_say(CASES[name])} |")
