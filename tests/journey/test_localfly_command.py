"""localfly's command line: what cannot be served is told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.step import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def refused(*words: str) -> str:
    """The complaint; never a traceback, never exit code 0."""
    done = subprocess.run(
        [sys.executable, "-m", "localfly", "--backend", "process", *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_no_port(port: str) -> None:
    """What can be no port is told as that."""
    assert "--port" in refused("--port", port)


def test_state_that_is_a_file(tmp_path: Path) -> None:
    """A state folder that cannot be one is named."""
    (tmp_path / "file").touch()
    assert f"localfly: {tmp_path / 'file'}: " in refused("--state", str(tmp_path / "file"))


def test_unknown_setting() -> None:
    """It says where to find those there are."""
    assert "no such setting: nothing; --help-settings lists them" in refused("--set", "nothing=1")
