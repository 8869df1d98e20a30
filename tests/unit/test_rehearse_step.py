"""The runner's files, as a rehearsal reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flaude_action.rehearsal.step import read_file_entries

if TYPE_CHECKING:
    from pathlib import Path


def test_entries(tmp_path: Path) -> None:
    """Both notations are read; a value may hold the other's signs; the last of a name wins."""
    file = tmp_path / "OUTPUT"
    file.write_text("a=1<<2=3\nb<<END\nx=1\n\ny<<z\nEND\nempty<<E2\nE2\na=4\n")
    assert read_file_entries(file) == {"a": "4", "b": "x=1\n\ny<<z", "empty": ""}


@pytest.mark.parametrize("text", ["neither\n", "a<<END\nnever\n"])
def test_broken_entries(tmp_path: Path, text: str) -> None:
    """What would fail the step on the runner fails here."""
    file = tmp_path / "OUTPUT"
    file.write_text(text)
    with pytest.raises(ValueError, match="OUTPUT"):
        read_file_entries(file)
