"""The rehearsal as its user sees it: run for real, and what appears is read."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import engines

pytestmark = pytest.mark.claude

Rehearsed = tuple[subprocess.CompletedProcess[str], Path]


def rehearse(folder: Path, backend: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One rehearsal with its cache, home and temporary folder in `folder`."""
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "flaude_action", "rehearse", "--backend", backend]
    done = subprocess.run(
        [*command, "--cache", str(folder / "cache")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(engines.ROOT / "src"),
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    print(done.stdout)  # pytest shows it with a failure
    return done


def claude_on_path(folder: Path) -> Path:
    """A folder for PATH with the tests' own Claude Code."""
    (folder / "bin").mkdir()
    (folder / "bin" / "claude").symlink_to(engines.claude())
    return folder / "bin"


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    """A rehearsal with processes, its Claude Code the tests' own, beside credentials it must not use."""
    folder = tmp_path_factory.mktemp("rehearsal")
    done = rehearse(
        folder,
        "process",
        PATH=f"{claude_on_path(folder)}:{os.environ['PATH']}",
        FLY_API_TOKEN="FlyV1 never-used",
        ANTHROPIC_API_KEY="sk-ant-never-used",
    )
    return done, folder


def test_both_endings_are_as_they_must_be(rehearsed: Rehearsed) -> None:
    """It ends with 0 and says of both runs how they ended, and that no machine is left."""
    done, _ = rehearsed
    assert done.returncode == 0
    recap = done.stdout.partition("━━ Recap")[2]
    assert "✓ Claude Code finds the bug and fixes it: success, exit code 0" in recap
    assert "✓ The credit runs out in the middle of the work: failure, exit code 1" in recap
    assert "model_billing: The Anthropic account has no credit left." in recap
    assert "✓ 2 machines were made, 0 are left" in recap


def test_it_says_first_what_it_is(rehearsed: Rehearsed) -> None:
    """The beginning says what plays the machines, Fly and the model, and why; credentials change neither."""
    done, folder = rehearsed
    lines = done.stdout.splitlines()
    assert lines[0] == "Machines are played by processes of this computer, as asked for."
    beginning = "\n".join(lines[:6])
    assert "although FLY_API_TOKEN is set" in beginning
    assert "although ANTHROPIC_API_KEY is set" in beginning
    assert str(folder / "cache" / "rehearsal") in beginning


def test_the_work_is_real(rehearsed: Rehearsed) -> None:
    """Claude Code saw the tests fail and pass; its patch is shown, and holds away from the machine."""
    done, _ = rehearsed
    first = done.stdout.partition("━━ The credit runs out")[0]
    before, _, after = first.partition("I round up instead.")
    assert "! FAIL: test_last_page_full" in before
    tested_again = after.partition("Fixed: ")[0]
    assert "OK" in tested_again
    assert "FAIL" not in tested_again
    assert "-    return items // size + 1" in first
    assert "+    return (items + size - 1) // size" in first
    proof = first.partition("The pull request's tests, with that patch applied here")[2]
    assert "Ran 3 tests" in proof
    assert "OK" in proof


def test_a_failure_shows_its_cause_and_keeps_the_work(
    rehearsed: Rehearsed,
) -> None:
    """The failing run has an annotation with the cause, the outputs for it, and what was done until then."""
    done, _ = rehearsed
    second = done.stdout.partition("━━ The credit runs out")[2].partition("━━ Recap")[0]
    annotations = second.partition("Annotations")[2].partition("Outputs")[0]
    assert "No credit left" in annotations
    assert "+    return (items - 1) // size + 1" in second


def test_a_cache_that_is_none(tmp_path: Path) -> None:
    """A cache folder that cannot be one ends it with a sentence that names it."""
    (tmp_path / "cache").touch()
    done = rehearse(tmp_path, "process")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert f"No rehearsal: {tmp_path / 'cache'}" in done.stdout


def test_two_at_once_have_a_folder_each(tmp_path: Path) -> None:
    """Two rehearsals with one cache: neither takes away the other's files, and both come to their end."""
    with ThreadPoolExecutor() as pool:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "cache").symlink_to(tmp_path / "shared")
        (tmp_path / "shared").mkdir()
        path = {"PATH": f"{claude_on_path(tmp_path)}:{os.environ['PATH']}"}
        both = [pool.submit(rehearse, tmp_path / name, "process", **path) for name in ("one", "other")]
        done = [each.result() for each in both]
    assert [each.returncode for each in done] == [0, 0]
    folders = {re.findall("The files of this rehearsal go to (\\S+)\\. ", each.stdout)[0] for each in done}
    assert folders == {str(tmp_path / "shared" / name) for name in ("rehearsal", "rehearsal-2")}


def test_nothing_stays(rehearsed: Rehearsed) -> None:
    """Temporary files and processes are gone, no credential was printed, and the home was left alone."""
    done, folder = rehearsed
    assert list((folder / "tmp").iterdir()) == []
    assert not (folder / "home").exists()
    assert "sk-ant-" not in done.stdout
    left = [each for each in processes() if str(folder) in each]
    assert left == []


@pytest.mark.docker
def test_with_containers(tmp_path: Path) -> None:
    """With a Docker engine the machines are containers of the machine image; it ends the same way."""
    done = rehearse(tmp_path, "docker", FLAUDE_BASE_IMAGE=engines.base_image())
    assert done.returncode == 0
    assert done.stdout.startswith("Machines are played by containers, because a Docker engine answers")
    assert "✓ 2 machines were made, 0 are left" in done.stdout
    assert "no isolation" not in done.stdout


def processes() -> list[str]:
    """Command line and environment of each process one may look at."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
            found.append(b" ".join(parts).replace(b"\0", b" ").decode(errors="replace"))
    return found
