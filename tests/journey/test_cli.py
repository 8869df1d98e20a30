"""The command line's own words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.support.step import ROOT


def said(*words: str) -> str:
    """The help, on one line."""
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    return " ".join(done.stdout.split())


@pytest.mark.parametrize("verb", ["main", "post", "doctor", "local", "rehearse"])
def test_every_verb_has_a_description(verb: str) -> None:
    """`VERB --help` begins with what it does."""
    description = said("flaude_action", verb).partition("] ")[2].partition(" options:")[0]
    assert description.endswith(".")
    assert len(description.split()) > 5


def test_what_is_kept() -> None:
    """`--keep` does not promise what happens anyway: the runs' own files stay without it."""
    assert "files of both runs" not in said("flaude_action", "rehearse").partition("--keep")[2]
