"""The engine's disk is full: a real one, on a tmpfs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support import engines

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.docker, pytest.mark.registry, pytest.mark.full]


def test_the_engines_disk_is_full(tmp_path: Path) -> None:
    """It is told as that, with what to do, and what was written before the end is removed."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY small /small\nCOPY large /large\n")
    (tmp_path / "small").write_bytes(os.urandom(1 << 20))
    (tmp_path / "large").write_bytes(os.urandom(40 << 20))
    beside = [sys.executable, "-m", "tests.support.build_once", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.small_disk", "64", *beside],
        cwd=engines.ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{engines.ROOT}:{engines.ROOT / 'src'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["type"], told["details"]) == ("image_build_failed", "The Docker engine's disk is full.")
    assert "no space left" in told["dev"]
    assert told["left"] == ""
