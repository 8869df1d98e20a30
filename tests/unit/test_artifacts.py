"""The step's folder in the workspace: ours alone, whatever a pull request has put in its way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.engines import ROOT

from flaude_action.artifacts import Artifacts
from flaude_action.errors import ConfigError


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_are_relative_to_the_workspace(tmp_path: Path) -> None:
    """Files lie in a folder of the step's, are given as relative paths, and git ignores them."""
    with Artifacts(tmp_path, "fix it/../x") as artifacts:
        path = artifacts.write("a.json", b"{}")
        with artifacts.open("machine.log") as log:
            log.write(b"x")
    assert path == ".flaude/fix-it-x/a.json"
    assert (tmp_path / path).read_bytes() == b"{}"
    assert (tmp_path / artifacts.path("machine.log")).read_bytes() == b"x"
    assert (tmp_path / ".flaude" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("step", ["", "..", "/", "é"])
def test_every_step_has_a_folder(tmp_path: Path, step: str) -> None:
    """Whatever a step is called, its folder is one below `.flaude`."""
    with Artifacts(tmp_path, step) as artifacts:
        assert artifacts.folder == ".flaude/step"


def test_nothing_of_an_earlier_run_is_left(tmp_path: Path) -> None:
    """On a self-hosted runner the old files go, and what else lies in `.flaude` stays."""
    with Artifacts(tmp_path, "a") as artifacts:
        artifacts.write("change.patch", b"old")
    with Artifacts(tmp_path, "b"):
        pass
    (tmp_path / ".flaude" / "a" / "link").symlink_to("/etc/passwd")
    (tmp_path / ".flaude" / "a" / "machine.log").mkdir()
    (tmp_path / ".flaude" / "a" / "machine.log" / "b").symlink_to(tmp_path / ".flaude" / "b")
    with Artifacts(tmp_path, "a"):
        assert sorted(path.name for path in (tmp_path / ".flaude" / "a").iterdir()) == []
    assert (tmp_path / ".flaude" / "b").is_dir()


@pytest.mark.parametrize("what", ["link", "step link", "file", "dangling"])
def test_a_link_on_the_way_is_refused(tmp_path: Path, what: str) -> None:
    """A link or a file where a folder should be is refused, and nothing is written through it."""
    workspace, outside = tmp_path / "workspace", tmp_path / "outside"
    workspace.mkdir()
    outside.mkdir()
    if what == "step link":
        (workspace / ".flaude").mkdir()
        (workspace / ".flaude" / "a").symlink_to(outside)
    elif what == "file":
        (workspace / ".flaude").write_text("")
    else:
        (workspace / ".flaude").symlink_to(outside if what == "link" else tmp_path / "nowhere")
    before = open_files()
    with pytest.raises(ConfigError) as refused:
        Artifacts(workspace, "a")
    assert refused.value.type == "config_invalid"
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "nowhere").exists()
    assert open_files() == before


def test_no_workspace_is_told(tmp_path: Path) -> None:
    """A workspace that is not there is the user's to put right."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        Artifacts(tmp_path / "nowhere", "a")


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_files_are_made_anew(tmp_path: Path, kind: str) -> None:
    """A file that is a link by the time it is written is replaced, not written through."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".flaude").mkdir()
    ignore = tmp_path / ".flaude" / ".gitignore"
    ignore.symlink_to(victim) if kind == "symbolic" else ignore.hardlink_to(victim)
    with Artifacts(tmp_path, "a") as artifacts:
        planted = tmp_path / artifacts.path("x")
        planted.symlink_to(victim) if kind == "symbolic" else planted.hardlink_to(victim)
        artifacts.write("x", b"new")
    assert victim.read_text() == "precious"
    assert planted.read_text() == "new"
    assert not planted.is_symlink()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a b"])
def test_names_are_plain(tmp_path: Path, name: str) -> None:
    """A file's name is never a path."""
    with Artifacts(tmp_path, "a") as artifacts, pytest.raises(ValueError, match="not a file name"):
        artifacts.write(name, b"")


def test_take_copies(tmp_path: Path) -> None:
    """A file from elsewhere is copied whole."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    (tmp_path / "workspace").mkdir()
    with Artifacts(tmp_path / "workspace", "a") as artifacts:
        path = artifacts.take("patch", source)
    assert (tmp_path / "workspace" / path).read_bytes() == source.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_belong_to_the_workspace_s_owner(tmp_path: Path) -> None:
    """The runner, which is not root, can clean up what our container's root has made."""
    os.chown(tmp_path, 1234, 1234)
    with Artifacts(tmp_path, "a") as artifacts:
        artifacts.write("x", b"")
    made = [
        tmp_path / ".flaude",
        tmp_path / ".flaude/.gitignore",
        tmp_path / ".flaude/a",
        tmp_path / ".flaude/a/x",
    ]
    assert {path.stat().st_uid for path in made} == {1234}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to lose")
def test_files_that_cannot_be_given_away_are_kept(tmp_path: Path) -> None:
    """Where root may not change owners (NFS, user namespaces), the files stay root's and the step goes on."""
    os.chown(tmp_path, 1234, 1234)
    without_cap_chown = (
        "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(24, 0) == 0\n"  # PR_CAPBSET_DROP, CAP_CHOWN
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    )
    code = (
        "from pathlib import Path; from flaude_action.artifacts import Artifacts\n"
        "with Artifacts(Path.cwd(), 'a') as artifacts: print(artifacts.write('x', b''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", without_cap_chown, code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == ".flaude/a/x\n", done.stderr
    assert (tmp_path / ".flaude/a/x").stat().st_uid == 0
