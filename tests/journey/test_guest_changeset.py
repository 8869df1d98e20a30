"""What the work changed, taken from real folders with real git."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.guest import git, repository

from flaude_guest import changeset, protocol, workspace
from flaude_guest.changeset import CollectFailed
from flaude_guest.fetch import Fetched, fetch
from flaude_guest.git import Git
from flaude_guest.job import Repository
from flaude_guest.places import Places
from flaude_guest.processes import Processes
from flaude_guest.record import Wake

if TYPE_CHECKING:
    from pathlib import Path

BASE = {
    "kept": "kept\n",
    "edited": "old\n",
    "removed": "x\n",
    "folder/inner": "1\n",
    ".gitignore": "ignored\n",
}


class Work:
    """A checkout as the guest makes it, and the changeset taken of it."""

    def __init__(self, root: Path, base: dict[str, str]) -> None:
        self.sha = repository(root / "up", base)
        self.up = root / "up"
        environ = {"FLAUDE_STATE_DIR": str(root / "state"), "FLAUDE_WORK_DIR": str(root / "work"),
                   "FLAUDE_HOME": str(root / "home"), "FLAUDE_RUN_DIR": str(root / "run"),
                   "PATH": os.environ["PATH"]}  # fmt: skip
        self.places = Places.of(environ, isolated=False)
        workspace.prepare(self.places)
        self.git = Git(Processes(Wake()), self.places, lambda: "")
        source = Repository(f"file://{self.up}", "main", self.sha, "repo", "")
        self.fetched: Fetched = fetch(self.git, source, root / "state" / "bare", local_urls=True)
        self.folder = workspace.check_out(self.git, self.places, self.fetched)
        self.index = root / "state" / "index"
        workspace.keep_index(self.folder, self.index)

    def take(self) -> dict[str, dict[str, Any]]:
        """The changeset's entries by path; its digest and its patch are checked on the way."""
        taken = changeset.take(self.git, self.places, self.fetched, self.folder, self.index)
        document = json.loads((self.places.state / "changeset").read_bytes())
        patch = (self.places.state / "patch").read_bytes()
        assert taken.digest == protocol.digest(document)
        assert (taken.files, taken.patch_bytes) == (len(document["files"]), len(patch))
        assert document["patch_sha256"] == hashlib.sha256(patch).hexdigest()
        assert document["base_sha"] == self.sha
        self.apply(document["files"])
        return {entry["path"]: entry for entry in document["files"]}

    def apply(self, entries: list[dict[str, Any]]) -> None:
        """The patch makes the base into exactly what the entries tell."""
        if not entries:
            return
        git(self.up, "apply", "--index", str(self.places.state / "patch"))
        for entry in entries:
            path = self.up / entry["path"]
            if entry["status"] == "deleted":
                assert not path.is_file()
                continue
            content = os.fsencode(path.readlink()) if entry["mode"] == "120000" else path.read_bytes()
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]
            assert len(content) == entry["size"]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path, BASE)


def test_nothing_changed(work: Work) -> None:
    """An untouched checkout has an empty changeset."""
    assert work.take() == {}


def test_every_kind_of_change(work: Work) -> None:
    """Edits, new files, deletions, modes, links, binaries and odd names all arrive; ignored files do not."""
    (work.folder / "edited").write_text("new\n")
    (work.folder / "removed").unlink()
    (work.folder / "kept").chmod(0o755)
    (work.folder / "ignored").write_text("no\n")
    (work.folder / "link").symlink_to("/etc/passwd")
    (work.folder / "binary").write_bytes(bytes(range(256)) * 50)
    (work.folder / "empty").write_bytes(b"")
    (work.folder / '-o dd\n"ü').write_text("name\n")
    (work.folder / "script").write_text("#!/bin/sh\n")
    (work.folder / "script").chmod(0o700)
    entries = work.take()
    assert {path: (entry["status"], entry["mode"]) for path, entry in entries.items()} == {
        "edited": ("modified", "100644"),
        "removed": ("deleted", "100644"),
        "kept": ("modified", "100755"),
        "link": ("added", "120000"),
        "binary": ("added", "100644"),
        "empty": ("added", "100644"),
        '-o dd\n"ü': ("added", "100644"),
        "script": ("added", "100755"),
    }
    assert entries["removed"]["sha256"] is None


def test_files_and_folders_that_change_places(work: Work) -> None:
    """A file becomes a folder, a folder a link, a link a file: each is told as it is."""
    (work.folder / "edited").unlink()
    (work.folder / "edited").mkdir()
    (work.folder / "edited" / "below").write_text("b\n")
    (work.folder / "folder" / "inner").unlink()
    (work.folder / "folder").rmdir()
    (work.folder / "folder").symlink_to("elsewhere")
    assert {path: entry["status"] for path, entry in work.take().items()} == {
        "edited": "deleted",
        "edited/below": "added",
        "folder": "added",
        "folder/inner": "deleted",
    }


def test_the_workspaces_own_git_does_not_matter(work: Work, tmp_path: Path) -> None:
    """Commits, a staged index, hostile settings, hooks and even a missing .git change nothing."""
    (work.folder / "edited").write_text("new\n")
    git(work.folder, "commit", "--quiet", "--all", "--message=mine")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "filter.x.clean", "core.hooksPath"):
        git(work.folder, "config", key, str(trap))
    (work.folder / ".gitattributes").write_text("* filter=x diff=x\n")
    assert set(work.take()) == {"edited", ".gitattributes"}
    assert not (tmp_path / "sprung").exists()


def test_without_git_folder(work: Work) -> None:
    """A workspace whose .git was replaced by something else is compared all the same."""
    (work.folder / ".git").rename(work.folder.parent / "moved")
    (work.folder / ".git").write_text("gitdir: /nowhere\n")
    (work.folder / "edited").write_text("new\n")
    assert set(work.take()) == {"edited"}


def test_repositories_inside_are_left_out(work: Work) -> None:
    """A nested repository, with commits or without, is not part of the change."""
    repository(work.folder / "nested", {"x": "1\n"})
    (work.folder / "bare").mkdir()
    git(work.folder / "bare", "init", "--quiet")
    (work.folder / "bare" / "file").write_text("1\n")
    (work.folder / "new").write_text("1\n")
    assert set(work.take()) == {"new"}


def test_things_that_are_no_files(work: Work) -> None:
    """Pipes and sockets are not content."""
    os.mkfifo(work.folder / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        folder = os.open(work.folder, os.O_RDONLY)
        one.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    assert work.take() == {}


def test_a_change_that_hides_its_times_is_found(work: Work) -> None:
    """Same size and a forged modification time do not hide new content."""
    target = work.folder / "edited"
    before = target.stat()
    time.sleep(0.02)
    target.write_text("bad\n")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(work.take()) == {"edited"}


def test_a_submodule_in_the_base(tmp_path: Path) -> None:
    """A base with a submodule that is not checked out has no change of it."""
    up = tmp_path / "first" / "up"
    work = Work(tmp_path / "first", BASE)
    git(up, "update-index", "--add", "--cacheinfo", f"160000,{work.sha},module")
    git(up, "commit", "--quiet", "--message=module")
    sha = git(up, "rev-parse", "HEAD")
    source = Repository(f"file://{up}", "main", sha, "second", "")
    work.fetched = fetch(work.git, source, tmp_path / "bare", local_urls=True)
    work.folder, work.sha = workspace.check_out(work.git, work.places, work.fetched), sha
    workspace.keep_index(work.folder, work.index)
    (work.folder / "module" / "file").write_text("1\n")
    assert "module" not in work.take()


def test_a_patch_that_is_too_large(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch over the limit is a failure, never a part of a patch."""
    monkeypatch.setattr(changeset, "PATCH_MAX_BYTES", 1000)
    (work.folder / "big").write_text("line\n" * 1000)
    with pytest.raises(CollectFailed, match="larger than 1000 bytes"):
        work.take()


def test_git_that_fails_is_a_failure(work: Work) -> None:
    """When git cannot compare there is no changeset, not an empty one."""
    (work.places.state / "bare" / "HEAD").unlink()
    with pytest.raises(CollectFailed, match="git diff-files exited with 128"):
        work.take()
