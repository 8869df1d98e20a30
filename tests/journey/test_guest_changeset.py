"""What the work changed, taken from real folders with real git."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.guest import git, repository

from flaude_guest import changeset, protocol, workspace
from flaude_guest.changeset import CollectFailed
from flaude_guest.fetch import Fetched, fetch
from flaude_guest.git import Git
from flaude_guest.job import Repository
from flaude_guest.places import Identity, Places
from flaude_guest.processes import Processes
from flaude_guest.record import Wake

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = {
    "kept": "kept\n",
    "edited": "old\n",
    "removed": "x\n",
    "folder/inner": "1\n",
    ".gitignore": "ignored\n",
}


class Work:
    """A checkout as the guest makes it, and the changeset taken of it."""

    def __init__(
        self, root: Path, base: dict[str, str], who: Identity | None = None, ref: str = "main"
    ) -> None:
        self.sha = repository(root / "up", base)
        self.up = root / "up"
        environ = {"FLAUDE_STATE_DIR": str(root / "state"), "FLAUDE_WORK_DIR": str(root / "work"),
                   "FLAUDE_HOME": str(root / "home"), "FLAUDE_RUN_DIR": str(root / "run"),
                   "PATH": os.environ["PATH"]}  # fmt: skip
        self.places = Places.of(environ, isolated=False)
        self.places = replace(self.places, agent=who or self.places.agent)
        workspace.prepare(self.places)
        self.git = Git(Processes(Wake()), self.places, lambda: "")
        source = Repository(f"file://{self.up}", ref, self.sha, "repo", "")
        self.fetched: Fetched = fetch(self.git, source, root / "state" / "bare", local_urls=True)
        self.folder = workspace.check_out(self.git, self.places, self.fetched)
        self.index = root / "state" / "index"
        workspace.keep_index(self.folder, self.index)

    def give_away(self) -> None:
        """What the test put into the checkout belongs to whom the checkout belongs."""
        owner = self.folder.stat()
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

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


def test_files_that_became_pipes_and_sockets(work: Work) -> None:
    """What is no content any more is left out, and the rest of the work is not lost with it."""
    for name in ("kept", "edited", "folder/inner"):
        (work.folder / name).unlink()
    os.mkfifo(work.folder / "kept")
    os.mknod(work.folder / "edited", stat.S_IFSOCK | 0o600)
    os.mkfifo(work.folder / "folder" / "inner")
    (work.folder / "new").write_text("1\n")
    assert set(work.take()) == {"new"}


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
    monkeypatch.setattr(changeset, "FILE_MAX_BYTES", 1000)
    (work.folder / "big").write_text("line\n" * 1000)
    with pytest.raises(CollectFailed, match="larger than 1000 bytes"):
        work.take()
    assert not (work.places.state / "patch").exists()


def test_git_that_fails_is_a_failure(work: Work) -> None:
    """When git cannot compare there is no changeset, not an empty one."""
    (work.places.state / "bare" / "HEAD").unlink()
    with pytest.raises(CollectFailed, match="git diff-files exited with 128"):
        work.take()


@pytest.fixture
def theirs() -> Iterator[Work]:
    """A checkout that is not root's: to root everything is readable, so nothing could be shown with it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        uid = 4242 if os.geteuid() == 0 else None
        yield Work(root, BASE, Identity("", uid, uid, root / "home"))
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)


def test_what_the_agent_closed_to_itself_is_opened(theirs: Work) -> None:
    """Without permissions nothing new or changed is lost, and nothing that is ignored is shown."""
    (theirs.folder / ".gitignore").write_text("ignored\nsecret\n")
    for name in ("edited", "secret", "folder/inner", "folder/new", "dark/deep/new", "new"):
        (theirs.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs.folder / name).write_text("new\n")
    outside = theirs.folder.parent / "outside"
    outside.mkdir()
    (theirs.folder / "link").symlink_to(outside)
    theirs.give_away()
    os.chown(outside, theirs.folder.stat().st_uid, -1)
    closed = ("edited", "new", ".gitignore", "folder", "dark/deep", "dark", ".")
    for name in closed:
        (theirs.folder / name).chmod(0o000)
    outside.chmod(0o311)
    taken = set(theirs.take())
    assert taken == {".gitignore", "edited", "folder/inner", "folder/new", "dark/deep/new", "new", "link"}
    assert outside.stat().st_mode & 0o777 == 0o311


@pytest.mark.parametrize("mode", [0o600, 0o311])
def test_a_folder_that_only_seems_open(theirs: Work, mode: int) -> None:
    """Neither the right to list without the right to enter nor the reverse hides anything."""
    (theirs.folder / "folder" / "inner").write_text("new\n")
    (theirs.folder / "half").mkdir()
    (theirs.folder / "half" / "new").write_text("new\n")
    theirs.give_away()
    for name in ("folder", "half"):
        (theirs.folder / name).chmod(mode)
    assert set(theirs.take()) == {"folder/inner", "half/new"}


def test_what_cannot_be_opened_is_a_failure(theirs: Work) -> None:
    """A folder that stays closed may hold anything, so there is no changeset without it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that the agent cannot open")
    (theirs.folder / "roots").mkdir(mode=0o700)
    with pytest.raises(CollectFailed, match="cannot be read: 1"):
        theirs.take()


def test_the_folder_is_gone(work: Work) -> None:
    """A repository that was moved away or deleted is a failure, not the deletion of every file."""
    work.folder.rename(work.folder.parent / "elsewhere")
    with pytest.raises(CollectFailed, match="folder is not there"):
        work.take()


def test_names_that_git_does_not_take_are_a_failure(work: Work) -> None:
    """git passes over a few names without failing; the rest of the work does not go on without them."""
    (work.folder / "git~1").write_text("1\n")
    (work.folder / "new").write_text("1\n")
    with pytest.raises(CollectFailed, match="could not be taken in: 1"):
        work.take()


def test_a_harmless_complaint_of_git(work: Work) -> None:
    """What git only remarks on is no failure."""
    (work.folder / ".gitattributes").write_text("edited text eol=lf\n* bad!name\n")
    (work.folder / "edited").write_bytes(b"one\r\ntwo\r\n")
    assert set(work.take()) == {".gitattributes", "edited"}


def test_more_paths_than_we_read_are_a_failure(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that was cut at a border between two names would lose the rest without a sign."""
    names = [f"name{number:04}" for number in range(100)]
    for name in names:
        (work.folder / name).write_text("1\n")
    monkeypatch.setattr("flaude_guest.git.CAPTURE_MAX_BYTES", 9 * 50)
    with pytest.raises(CollectFailed, match="names more"):
        work.take()


def test_a_disk_that_is_full(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch that cannot be written is a full disk, told as that."""
    (work.folder / "new").write_text("1\n")
    full = Path("/dev/full")
    monkeypatch.setattr(changeset, "open_private", lambda _: full.open("wb", buffering=0))
    with pytest.raises(CollectFailed) as caught:
        work.take()
    assert caught.value.type == "disk_full"
    assert not (work.places.state / "changeset").exists()


@pytest.mark.parametrize("ref", ["refs/heads/-odd", "HEAD", "main"])
def test_a_checkout_whatever_the_branch_is_called(tmp_path: Path, ref: str) -> None:
    """A branch that git has no word for is checked out without one; its name is never read as an option."""
    work = Work(tmp_path, BASE, ref=ref)
    (work.folder / "edited").write_text("new\n")
    assert set(work.take()) == {"edited"}
    assert git(work.folder, "rev-parse", "HEAD") == work.sha
    assert git(work.folder, "rev-parse", "--abbrev-ref", "HEAD") == ("main" if ref == "main" else "HEAD")
