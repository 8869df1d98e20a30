"""What the work changed, taken from real folders with real git."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import stat
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.guest import git, repository

from flaude_guest import changeset, protocol, workspace
from flaude_guest.changeset import CollectFailed
from flaude_guest.comparison import Comparison
from flaude_guest.fetch import Fetched, fetch
from flaude_guest.git import Git
from flaude_guest.job import Repository
from flaude_guest.places import Identity, Places
from flaude_guest.processes import Processes
from flaude_guest.record import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    def take(self, since: float = 0.0) -> dict[str, dict[str, Any]]:
        """The changeset's entries by path; its digest and its patch are checked on the way."""
        taken = changeset.take(self.git, self.places, self.fetched, self.folder, self.index, since)
        self.taken = taken
        document = json.loads((self.places.state / "changeset").read_bytes())
        patch = (self.places.state / "patch").read_bytes()
        assert taken.digest == protocol.digest(document)
        assert (taken.files, taken.patch_bytes) == (len(document["files"]), len(patch))
        assert document["patch_sha256"] == hashlib.sha256(patch).hexdigest()
        assert document["base_sha"] == self.sha
        self.apply(document["files"])
        entries = {entry["path"]: entry for entry in document["files"]}
        self.left_out = {row["path"]: row["why"] for row in document["left_out"]}
        self.sizes = {row["path"]: row["size"] for row in document["left_out"]}
        assert not entries.keys() & self.left_out.keys()
        assert taken.paths == list(entries)[: len(taken.paths)]
        assert taken.left_out_count >= len(self.left_out)
        return entries

    def apply(self, entries: list[dict[str, Any]]) -> None:
        """The patch makes the base into exactly what the entries tell."""
        if not entries:
            return
        git(self.up, "-c", "core.protectHFS=true", "apply", "--index", str(self.places.state / "patch"))
        names = ["git", "diff", "--cached", "--name-only", "--no-renames", "-z", "HEAD"]
        changed = os.fsdecode(subprocess.check_output(names, cwd=self.up)).split("\0")
        assert sorted(filter(None, changed)) == sorted(entry["path"] for entry in entries)
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
    """A nested repository, with commits or without, is not part of the change, and named."""
    repository(work.folder / "nested", {"x": "1\n"})
    (work.folder / "bare").mkdir()
    git(work.folder / "bare", "init", "--quiet")
    (work.folder / "bare" / "file").write_text("1\n")
    repository(work.folder / "ignored", {"x": "1\n"})
    (work.folder / "new").write_text("1\n")
    assert set(work.take()) == {"new"}
    assert work.left_out == {"nested/": "repository", "bare/": "repository"}


def test_a_second_work_tree_is_left_out(work: Work) -> None:
    """In it is a file that names the repository."""
    git(work.folder, "worktree", "add", "--quiet", "beside")
    (work.folder / "beside" / "new").write_text("1\n")
    assert work.take() == {}
    assert work.left_out == {"beside/": "repository"}


def test_repositories_that_were_there_before(work: Work) -> None:
    """What `setup` has put there is none of the agent's work, though it may have looked into it."""
    repository(work.folder / "tools", {"x": "1\n"})
    begun = time.time() + 1000
    (work.folder / "new").write_text("1\n")
    assert set(work.take(since=begun)) == {"new"}
    assert (work.left_out, work.taken.repositories_inside) == ({}, 1)


def test_a_file_that_became_a_repository(work: Work) -> None:
    """It is not said to be deleted."""
    (work.folder / "kept").unlink()
    git(work.folder, "init", "--quiet", "kept")
    (work.folder / "kept" / "inner").write_text("1\n")
    (work.folder / "new").write_text("1\n")
    assert set(work.take()) == {"new"}
    assert work.left_out == {"kept": "repository"}


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
    assert work.left_out == dict.fromkeys(("kept", "edited", "folder/inner"), "no_file")


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
    """Of a patch over the limit the largest parts are left out, and no more of them than must be."""
    monkeypatch.setattr(changeset, "FILE_MAX_BYTES", 20_000)
    for name, lines in (("largest", 2500), ("large", 2000), ("small", 1000), ("kept", 500)):
        (work.folder / name).write_text("line\n" * lines)
    assert set(work.take()) == {"small", "kept"}
    assert work.left_out == {"large": "too_large", "largest": "too_large"}
    assert work.sizes == {"large": 10_000, "largest": 12_500}
    assert work.taken.left_out_count == 2


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


def test_what_cannot_be_opened_is_left_out(theirs: Work) -> None:
    """A folder that stays closed may hold anything, and so may a file: they are named, if not ignored."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder that the agent cannot open")
    (theirs.folder / "new").write_text("1\n")
    (theirs.folder / ".gitignore").write_text("ignored\nbuild/\n")
    (theirs.folder / "build").mkdir()
    theirs.give_away()
    (theirs.folder / "roots").mkdir(mode=0o700)
    (theirs.folder / "build" / "roots").mkdir(mode=0o700)
    for name in ("roots file", "edited", "build/file"):
        (theirs.folder / name).unlink(missing_ok=True)
        (theirs.folder / name).touch(mode=0o600)
    assert set(theirs.take()) == {"new", ".gitignore"}
    assert theirs.left_out == dict.fromkeys(("roots", "roots file", "edited"), "unreadable")


def test_the_folder_is_gone(work: Work) -> None:
    """A repository that was moved away or deleted is a failure, not the deletion of every file."""
    work.folder.rename(work.folder.parent / "elsewhere")
    with pytest.raises(CollectFailed, match="folder is not there"):
        work.take()


REFUSED = ("git~1", ".GIT/x", "a/.Git/x", ".git /x", ".git./x", ".g\u200cit/x", "\u200f.git", "GIT~1/y",
           ".git::$INDEX_ALLOCATION/z")  # fmt: skip
FINE = ("a\\b", "c:", "git~2", ".gitx", "aux", "  ", "-o", "*", ":(top)x", "new\nline", "\udcff", "n" * 255)


def test_names_that_git_does_not_take_are_left_out(work: Work) -> None:
    """What git, here or on another system, would not apply is named; names that are merely odd arrive."""
    for name in REFUSED + FINE:
        (work.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (work.folder / name).write_text("1\n")
    (work.folder / ".gitmodules").symlink_to("answer")
    assert set(work.take()) == set(FINE)
    assert work.left_out == dict.fromkeys((*REFUSED, ".gitmodules"), "name_refused")


def test_what_was_replaced_by_something_refused_stays(work: Work) -> None:
    """A file that became a folder that is left out, or the other way round, is as it was."""
    (work.folder / "edited").unlink()
    (work.folder / "edited" / ".GIT").mkdir(parents=True)
    (work.folder / "edited" / ".GIT" / "x").write_text("1\n")
    (work.folder / "edited" / "fine").write_text("1\n")
    (work.folder / "folder" / "inner").unlink()
    (work.folder / "folder").rmdir()
    with (work.folder / "folder").open("wb") as file:
        file.truncate(4 << 30)
    (work.folder / "kept").unlink()
    assert set(work.take()) == {"kept"}
    assert work.left_out == {
        "folder": "too_large", "edited/.GIT/x": "name_refused", "edited/fine": "git_refused"
    }  # fmt: skip


def test_a_folder_that_became_a_pipe(work: Work) -> None:
    """Neither is a pipe the deletion of the files that were below its name."""
    (work.folder / "folder" / "inner").unlink()
    (work.folder / "folder").rmdir()
    os.mkfifo(work.folder / "folder")
    (work.folder / "new").write_text("1\n")
    assert set(work.take()) == {"new"}
    assert work.left_out == {"folder": "no_file"}


def test_files_that_are_too_large(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger than git may be given, new or tracked: named with their size, and never read."""
    monkeypatch.setattr(changeset, "content_max_bytes", lambda: 1000)
    for name, size in (("sparse", 4 << 30), ("edited", 1001), ("folder/new", 1001), ("fits", 1000)):
        with (work.folder / name).open("wb") as file:
            file.truncate(size)
    (work.folder / "ignored").write_bytes(bytes(2000))
    (work.folder / "link").symlink_to("sparse")
    assert set(work.take()) == {"fits", "link"}
    assert work.left_out == dict.fromkeys(("sparse", "edited", "folder/new"), "too_large")
    assert work.sizes == {"sparse": 4 << 30, "edited": 1001, "folder/new": 1001}


@pytest.mark.parametrize("content", ["same", "other"])
def test_a_large_file_that_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """A tracked file that was only touched is no change, however large; it is its content that tells."""
    work = Work(tmp_path, {"large": "x" * 2000})
    monkeypatch.setattr(changeset, "content_max_bytes", lambda: 1000)
    (work.folder / "large").unlink()
    (work.folder / "large").write_text(("x" if content == "same" else "y") * 2000)
    assert work.take() == {}
    assert work.left_out == ({} if content == "same" else {"large": "too_large"})


def test_new_files_that_are_too_large_together(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest are left out until the rest fits."""
    monkeypatch.setattr("flaude_guest.staging.TOTAL_MAX_BYTES", 10_000)
    for number in range(1, 6):
        (work.folder / f"new{number}").write_bytes(bytes(number * 1000))
    assert set(work.take()) == {"new1", "new2", "new3", "new4"}
    assert work.left_out == {"new5": "too_large"}


def test_new_files_that_are_too_many(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fullest folder's go first, what was written elsewhere arrives, and all are counted."""
    monkeypatch.setattr("flaude_guest.left_out.NEW_MAX", 20)
    for number in range(100):
        (work.folder / "node_modules" / f"p{number // 10}").mkdir(parents=True, exist_ok=True)
        (work.folder / "node_modules" / f"p{number // 10}" / f"{number}.js").write_text("1\n")
    (work.folder / "zz").mkdir()
    for name in ("zz/answer", "zz/other", "new", "edited"):
        (work.folder / name).write_text("new\n")
    taken = set(work.take())
    assert {"zz/answer", "zz/other", "new", "edited"} < taken
    assert len(taken) <= 21
    assert work.left_out == {"node_modules/": "too_many"}
    assert work.taken.left_out_count == 104 - len(taken)


def test_more_folders_than_there_may_be_files(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is outside of any folder arrives, and then the first; some of the others are named."""
    monkeypatch.setattr("flaude_guest.left_out.NEW_MAX", 20)
    for number in range(60):
        (work.folder / f"junk{number:02}").mkdir()
        (work.folder / f"junk{number:02}" / "file").write_text("1\n")
    (work.folder / "zz.txt").write_text("new\n")
    assert set(work.take()) == {"zz.txt", *(f"junk{number:02}/file" for number in range(19))}
    assert len(work.left_out) == 20
    assert work.left_out.items() <= {(f"junk{number:02}/", "too_many") for number in range(19, 60)}
    assert work.taken.left_out_count == 41


def test_too_many_when_git_is_asked_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was too many is not found again, inside of a folder or not; a name that git refuses is told."""
    monkeypatch.setattr("flaude_guest.left_out.NEW_MAX", 20)
    for number in range(60):
        (work.folder / f"new{number:02}").write_text("1\n")
    (work.folder / "git~1").write_text("1\n")
    taken = set(work.take())
    assert taken == {f"new{number:02}" for number in range(19)}
    assert work.left_out.pop("git~1") == "name_refused"
    assert set(work.left_out.values()) == {"too_many"}
    assert work.taken.left_out_count == 42


def test_folders_in_folders_in_folders(work: Work) -> None:
    """Deeper than a path may be long: what is there is not read, but the rest of the work is."""
    (work.folder / "new").write_text("1\n")
    with deep(work.folder, 3000):
        assert set(work.take()) == {"new"}
    assert list(work.left_out.values()) == ["too_deep"]
    assert all(set(path) == {"d", "/"} for path in work.left_out)


def test_folders_in_folders_that_are_ignored(work: Work) -> None:
    """What git ignores may be as deep as it likes."""
    (work.folder / ".gitignore").write_text("d\n")
    with deep(work.folder, 3000):
        assert set(work.take()) == {".gitignore"}
    assert work.left_out == {}


@contextmanager
def deep(top: Path, levels: int) -> Iterator[None]:
    """A file at the end of so many folders, made from each folder downwards; Python could not remove them."""
    made = f"import os\nfor _ in range({levels}):\n  os.mkdir('d'); os.chdir('d')\nopen('file', 'w')"
    subprocess.run(["python3", "-c", made], cwd=top, check=True)
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", "d"], cwd=top, check=True)


def test_a_file_that_git_fails_over(work: Work) -> None:
    """git stops at what it cannot convert; it is found among many, and all others arrive."""
    (work.folder / ".gitattributes").write_text("*.odd working-tree-encoding=UTF-16\n")
    names = {f"new{number}" for number in range(50)}
    for name in names:
        (work.folder / name).write_text("1\n")
    (work.folder / "a.odd").write_bytes(b"\xff")
    (work.folder / "z.odd").write_bytes(b"odd")
    assert set(work.take()) == {*names, ".gitattributes"}
    assert work.left_out == {"a.odd": "git_refused", "z.odd": "git_refused"}


def test_many_files_that_git_fails_over(work: Work) -> None:
    """However many they are, what is between them arrives."""
    (work.folder / ".gitattributes").write_text("*.odd working-tree-encoding=UTF-16\n")
    for number in range(150):
        (work.folder / f"new{number:03}").write_text("1\n")
        (work.folder / f"new{number:03}.odd").write_bytes(b"\xff")
    assert set(work.take()) == {".gitattributes", *(f"new{number:03}" for number in range(150))}
    assert work.left_out == {f"new{number:03}.odd": "git_refused" for number in range(150)}


def test_a_large_binary_that_is_gone(tmp_path: Path) -> None:
    """Its removal is a few lines: nobody needs the content of what goes away."""
    content = "\0" + "".join(map(chr, random.Random(1).choices(range(1, 128), k=3_000_000)))
    work = Work(tmp_path, BASE | {"big.bin": content})
    (work.folder / "big.bin").unlink()
    (work.folder / "removed").unlink()
    (work.folder / "edited").write_text("new\n")
    taken = work.take()
    assert {path: row["status"] for path, row in taken.items()} == {
        "big.bin": "deleted", "edited": "modified", "removed": "deleted"
    }  # fmt: skip
    assert work.taken.patch_bytes < 2000
    assert b"-" + BASE["removed"].encode() in (work.places.state / "patch").read_bytes()


def test_git_fails_over_files_and_there_is_no_time(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git has not taken by then is left out, and the change is taken."""
    monkeypatch.setattr("flaude_guest.staging.TRIES_S", -1.0)
    (work.folder / ".gitattributes").write_text("*.odd working-tree-encoding=UTF-16\n")
    (work.folder / "a.odd").write_bytes(b"\xff")
    assert work.take() == {}
    assert work.left_out == dict.fromkeys((".gitattributes", "a.odd"), "git_refused")


@pytest.mark.parametrize(
    "name", [".gitignore", ".gitattributes", "folder/.gitignore", "fresh/.gitattributes"]
)
@pytest.mark.parametrize("odd", ["pipe", "sparse"])
def test_rules_that_git_cannot_read(work: Work, name: str, odd: str) -> None:
    """git would wait for ever or need all memory to read its own rules: the base's are used instead."""
    path = work.folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if odd == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(4 << 30)
    for new in ("new", "ignored", "folder/new", "fresh/new"):
        (work.folder / new).parent.mkdir(exist_ok=True)
        (work.folder / new).write_text("1\n")
    assert set(work.take()) == {"new", "folder/new", "fresh/new"}
    assert work.left_out == {name: "git_refused" if odd == "pipe" else "too_large"}


@pytest.mark.parametrize(
    ("trap", "make"),
    [
        ("fresh/.git/HEAD", os.mkfifo),
        ("fresh/.git/commondir", os.mkfifo),
        ("fresh/.git/commondir", lambda path: path.symlink_to("/dev/zero")),
        ("fresh/.git", lambda path: path.symlink_to("../held")),
    ],
    ids=["a pipe", "a pipe elsewhere", "a link to no end", "a link to a pipe"],
)
def test_what_looks_like_a_repository(work: Work, trap: str, make: Callable[[Path], None]) -> None:
    """git would wait for ever, or read for ever, to see whether the folder is one."""
    (work.folder / "held").mkdir()
    os.mkfifo(work.folder / "held" / "HEAD")
    (work.folder / "fresh").mkdir()
    path = work.folder / trap
    if path.name != ".git":
        git(work.folder / "fresh", "init", "--quiet")
        path.unlink(missing_ok=True)
    make(path)
    for new in ("new", "fresh/new"):
        (work.folder / new).write_text("1\n")
    entries = work.take()
    assert {"new"} <= entries.keys() <= {"new", "fresh/new"}
    assert work.left_out.keys() - {"fresh/"} == {trap}
    assert "fresh/new" in entries or "fresh/" in work.left_out


def test_a_trap_behind_very_many_folders(work: Work) -> None:
    """It is looked for in all of them."""
    for number in range(20_000):
        (work.folder / f"d{number // 200}" / f"{number}").mkdir(parents=True)
    os.mkfifo(work.folder / "d99" / "19999" / ".gitattributes")
    (work.folder / "d99" / "19999" / "new").write_text("1\n")
    assert set(work.take()) == {"d99/19999/new"}
    assert work.left_out == {"d99/19999/.gitattributes": "git_refused"}


@pytest.mark.parametrize("last", [1, 3, 5])
def test_git_that_is_killed_over_the_patch(work: Work, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """It is asked again with less to do: as binary first, then without the heaviest."""
    for number in range(30):
        (work.folder / f"new{number:02}").write_text("line\n" * (30 - number))
    whole, asked = Comparison.patch, []

    def patch(self: Comparison, out: Any, *attributes: str) -> None:
        asked.append(attributes)
        if len(asked) <= last:
            out(b"diff --git a/half b/half\nnew file")
            raise CollectFailed("git diff-index exited with 137.")
        whole(self, out, *attributes)

    monkeypatch.setattr(Comparison, "patch", patch)
    taken = set(work.take())
    assert [len(attributes) for attributes in asked] == [0] + [1] * last
    left = {1: 0, 3: 5, 5: 30}[last]
    assert sorted(taken) == sorted(f"new{number:02}" for number in range(left, 30))
    assert set(work.left_out.values()) <= {"git_refused"}
    assert work.taken.left_out_count == left


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


def test_the_result_tells_the_first_paths(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many changed paths as fit in the result, and not more than so many rows of what was left out."""
    monkeypatch.setattr(changeset, "PATHS_MAX_BYTES", 100)
    for number in range(30):
        (work.folder / f"new{number:02}").write_text("1\n")
        (work.folder / f"left{number:02}" / ".GIT").mkdir(parents=True)
        (work.folder / f"left{number:02}" / ".GIT" / "x").write_text("1\n")
    assert len(work.take()) == 30
    assert work.taken.paths == [f"new{number:02}" for number in range(12)]
    assert len(work.taken.left_out) == 20
    assert (work.taken.left_out_count, len(work.left_out)) == (30, 30)
