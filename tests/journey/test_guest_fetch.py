"""The guest's fetch against a git host over HTTP: what it gets, what it leaves, how failures are told."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.engines import free_port
from tests.support.guest import git, repository, served

from flaude_guest.fetch import DEPTH, CloneFailed, Fetched, fetch
from flaude_guest.git import CutShort, Git
from flaude_guest.job import Repository
from flaude_guest.places import Places
from flaude_guest.processes import Processes
from flaude_guest.record import Wake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "ghs_0123456789"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with o/open.git and o/private.git: two commits on main, a branch, an annotated tag."""
    root = tmp_path_factory.mktemp("host")
    repository(root / "work", {"a": "1\n"})
    git(root / "work", "commit", "--quiet", "--allow-empty", "--message=two")
    git(root / "work", "tag", "--annotate", "--message=v1", "v1")
    git(root / "work", "branch", "side/way", "HEAD~1")
    for name in ("open", "private"):
        git(root, "clone", "--quiet", "--mirror", str(root / "work"), str(root / "o" / f"{name}.git"))
    (root / "o" / "private.git" / "flaude-private-token").write_text(TOKEN)
    return root


@pytest.fixture(scope="module")
def host(source: Path) -> Iterator[str]:
    """The address of a git host that serves `source`."""
    with served("localfly.githost", "--root", str(source)) as url:
        yield url


@pytest.fixture
def run(tmp_path: Path) -> Git:
    """git as the supervisor runs it, without isolation."""
    places = Places.of({"FLAUDE_STATE_DIR": str(tmp_path)}, isolated=False)
    return Git(Processes(Wake()), places, lambda: "")


def wanted(url: str, ref: str = "", sha: str = "", token: str = "") -> Repository:
    return Repository(url, ref, sha, "n", token)


def sha_of(source: Path, name: str) -> str:
    return git(source / "work", "rev-parse", name + "^{commit}")


@pytest.mark.parametrize(
    ("ref", "commit", "branch"),
    [
        ("", "main", "main"),
        ("side/way", "side/way", "side/way"),
        ("refs/heads/side/way", "side/way", "side/way"),
        ("v1", "v1", ""),
        ("refs/tags/v1", "v1", ""),
    ],
)
def test_refs_are_resolved(
    source: Path, host: str, run: Git, tmp_path: Path, ref: str, commit: str, branch: str
) -> None:
    """Without a sha the ref's commit of now is fetched; only a branch gives a local branch."""
    fetched = fetch(run, wanted(f"{host}/o/open.git", ref), tmp_path / "bare", local_urls=False)
    assert (fetched.sha, fetched.branch) == (sha_of(source, commit), branch)


@pytest.mark.parametrize(
    ("ref", "branch"), [("", ""), ("main", "main"), ("refs/heads/main", "main"), ("refs/pull/7/merge", "")]
)
def test_the_sha_decides(source: Path, host: str, run: Git, tmp_path: Path, ref: str, branch: str) -> None:
    """With a sha that commit is fetched, wherever the ref points by now; the ref only names the branch."""
    old = sha_of(source, "main~1")
    fetched = fetch(run, wanted(f"{host}/o/open.git", ref, old), tmp_path / "bare", local_urls=False)
    assert fetched == Fetched(wanted(f"{host}/o/open.git", ref, old), tmp_path / "bare", old, branch)


def test_a_private_repository(source: Path, host: str, run: Git, tmp_path: Path) -> None:
    """The token opens a private repository and is written nowhere."""
    one = wanted(f"{host}/o/private.git", "main", token=TOKEN)
    assert fetch(run, one, tmp_path / "bare", local_urls=False).sha == sha_of(source, "main")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]
    assert TOKEN not in repr(one)


@pytest.mark.parametrize(
    ("name", "ref", "sha", "token", "type_"),
    [
        ("private", "main", "", "", "clone_auth_failed"),
        ("private", "", "f" * 40, "ghs_wrong", "clone_auth_failed"),
        ("absent", "main", "", "", "clone_auth_failed"),
        ("open", "absent", "", "", "clone_ref_not_found"),
        ("open", "refs/heads/absent", "", "", "clone_ref_not_found"),
        ("open", "main", "f" * 40, "", "clone_ref_not_found"),
        ("private", "main", "f" * 40, TOKEN, "clone_ref_not_found"),
    ],
)
def test_failures_are_told_by_what_the_server_said(
    host: str, run: Git, tmp_path: Path, name: str, ref: str, sha: str, token: str, type_: str
) -> None:
    """No access and no such commit are told apart, and neither shows the token."""
    with pytest.raises(CloneFailed) as caught:
        fetch(run, wanted(f"{host}/o/{name}.git", ref, sha, token), tmp_path / "bare", local_urls=False)
    assert caught.value.type == type_
    assert not token or token not in str(caught.value) + caught.value.line


def test_a_blob_is_no_commit(source: Path, host: str, run: Git, tmp_path: Path) -> None:
    """An object that is not a commit cannot be worked on."""
    blob = git(source / "work", "rev-parse", "main:a")
    with pytest.raises(CloneFailed) as caught:
        fetch(run, wanted(f"{host}/o/open.git", "", blob), tmp_path / "bare", local_urls=False)
    assert caught.value.type == "clone_ref_not_found"


def test_a_host_that_does_not_answer_is_asked_again(
    run: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network trouble is retried twice and then is clone_failed; the waits are interruptible."""
    monkeypatch.setattr("flaude_guest.fetch.RETRY_DELAYS_S", (0.01, 0.01))
    waits: list[float] = []
    monkeypatch.setattr(run, "pause", waits.append)
    one = wanted(f"http://127.0.0.1:{free_port()}/o/n.git", "main")
    with pytest.raises(CloneFailed) as caught:
        fetch(run, one, tmp_path / "bare", local_urls=False)
    assert caught.value.type == "clone_failed"
    assert "no HTTP answer" in caught.value.details
    assert waits == [0.01, 0.01]


def test_local_folders_are_refused_under_isolation(run: Git, source: Path, tmp_path: Path) -> None:
    """Root never reads a repository that lies on the machine."""
    with pytest.raises(CloneFailed):
        fetch(run, wanted(f"file://{source}/work"), tmp_path / "bare", local_urls=False)


def test_history_is_shallow(source: Path, host: str, run: Git, tmp_path: Path) -> None:
    """A long past is not fetched."""
    commits = "".join(
        f"commit refs/heads/long\ncommitter t <t@example.com> {number} +0000\ndata 1\nx\n"
        for number in range(200)
    )
    long = source / "o" / "open.git"
    subprocess.run(["git", "fast-import", "--quiet"], cwd=long, input=commits.encode(), check=True)
    fetch(run, wanted(f"{host}/o/open.git", "long"), tmp_path / "bare", local_urls=False)
    assert git(tmp_path / "bare", "rev-list", "--count", "refs/flaude/base") == str(DEPTH)


def test_a_stop_cuts_a_fetch_short(source: Path, host: str, tmp_path: Path) -> None:
    """When the run must end the fetch ends with its reason."""
    places = Places.of({"FLAUDE_STATE_DIR": str(tmp_path)}, isolated=False)
    stopped = Git(Processes(Wake()), places, lambda: "cancelled")
    with pytest.raises(CutShort, match="cancelled"):
        fetch(stopped, wanted(f"{host}/o/open.git", "main"), tmp_path / "bare", local_urls=False)
