"""The main job when the agent leaves a file that the change cannot carry: it is named, the rest arrives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.patches import applied
from tests.support.step import bash, script, stage

if TYPE_CHECKING:
    from pathlib import Path

FIX = bash("echo fixed > answer.txt; rm README.md")
ODD = {
    "random": ("head -c 70000000 /dev/urandom > core.1234", "`core.1234` (66.8 MiB, too large)"),
    "sparse": ("truncate -s 4G data.img", "`data.img` (4 GiB, too large)"),
    "a folder .GIT": ("mkdir .GIT; echo x > .GIT/x", "`.GIT/x` (2 bytes, git takes no such name)"),
    "a folder git~1": ("mkdir git~1; echo x > git~1/x", "`git~1/x` (2 bytes, git takes no such name)"),
    "a tracked file": (
        "git checkout -q README.md; truncate -s 4G README.md",
        "`README.md` (4 GiB, too large)",
    ),
    "a repository": ("git init -q app; echo 1 > app/main.py", "`app/` (a repository of its own)"),
    "a second work tree": (
        "git worktree add -q wt && echo 1 > wt/new",
        "`wt/` (a repository of its own)",
    ),
    "a pipe": ("git checkout -q README.md; rm README.md; mkfifo README.md", "`README.md` (a pipe,"),
    "nested": (
        "python3 -c \"import os\nfor n in range(3000): os.mkdir('d'); os.chdir('d')\"",
        "(too many folders deep)",
    ),
}


@pytest.mark.parametrize(("odd", "words"), ODD.values(), ids=ODD)
async def test_one_odd_file_does_not_lose_the_rest(tmp_path: Path, odd: str, words: str) -> None:
    """The run is red, it is the user's turn, the file is named with its size, and the patch has all else."""
    async with stage(tmp_path, script(FIX, bash(odd), "Done.")) as here:
        ended = await here.step(memory_mb="1024")
        changed = applied(here, ended)
    assert ended.exit_code == 1
    assert (ended.outputs["error_type"], ended.outputs["retryable"]) == ("collect_failed", "user")
    (error,) = ended.of_level("error")
    assert words in error
    assert ".gitignore" in ended.outputs["error_hint"]
    assert words.split("`")[1 if "`" in words else 0].split(" ")[0].strip("(") in ended.summary
    assert changed.keys() == set(json.loads(ended.outputs["changed_files"]))
    assert changed.pop("answer.txt") == "A"
    if "README.md" not in odd:
        assert changed.pop("README.md") == "D"
    assert changed == {}


async def test_zeros_are_carried(tmp_path: Path) -> None:
    """What is large and can be packed arrives whole."""
    async with stage(tmp_path, script(FIX, bash("head -c 70000000 /dev/zero > zeros"), "Done.")) as here:
        ended = await here.step()
        assert applied(here, ended) == {"answer.txt": "A", "README.md": "D", "zeros": "A"}
        assert (here.folder / "fresh" / "zeros").read_bytes() == bytes(70_000_000)
    assert ended.outputs["conclusion"] == "success"
    assert (ended.workspace / ended.outputs["patch_file"]).stat().st_size < 1_000_000


async def test_another_failure_keeps_its_name(tmp_path: Path) -> None:
    """That something was left out is a notice then."""
    turns = script(FIX, bash("truncate -s 4G data.img"), bash("sleep 60"), "Done.")
    async with stage(tmp_path, turns) as here:
        ended = await here.step(timeout="15s")
        assert applied(here, ended) == {"answer.txt": "A", "README.md": "D"}
    assert ended.outputs["error_type"] == "run_timeout"
    assert "`data.img`" in ended.summary
