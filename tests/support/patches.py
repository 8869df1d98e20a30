"""What a step's patch makes of the repository."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.step import Ended, Stage


def applied(here: Stage, ended: Ended) -> dict[str, str]:
    """The files, with their status, after the patch on a fresh checkout of the base, in `fresh`."""
    fresh = here.folder / "fresh"
    git = ["git", "-C", str(fresh)]
    subprocess.run(["git", "clone", "-q", str(here.folder / "source"), str(fresh)], check=True)
    patch = str(ended.workspace / ended.outputs["patch_file"])
    subprocess.run([*git, "apply", "--check", patch], check=True)
    subprocess.run([*git, "apply", "--index", patch], check=True)
    told = subprocess.check_output([*git, "diff", "--cached", "--name-status"], text=True)
    return {path: status for status, path in (line.split("\t") for line in told.splitlines())}
