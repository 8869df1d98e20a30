"""What a build sends: which files, their digest, the tar."""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from flaude_action.build_context import DOCKERFILE_NAME, context_digest, read_context, write_tar
from flaude_action.dockerignore import DockerIgnore
from flaude_action.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A context with a file, a program, a folder, an empty folder and a link."""
    folder = tmp_path / "context"
    (folder / "inside").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "file").write_text("text")
    (folder / "inside" / "program").write_text("#!/bin/sh\n")
    (folder / "inside" / "program").chmod(0o755)
    (folder / "link").symlink_to("/not/there")
    return folder


def digest_of(folder: Path) -> str:
    return context_digest(read_context(folder))


def tar_of(folder: Path, ignore: DockerIgnore | None = None) -> tarfile.TarFile:
    context, target = read_context(folder, ignore), io.BytesIO()
    write_tar(context, "FROM scratch\n", context_digest(context), target)
    target.seek(0)
    return tarfile.open(fileobj=target)


def test_the_same_bytes_have_the_same_digest_anywhere(folder: Path, tmp_path: Path) -> None:
    """Place, times, the order of making and permissions that are not "executable" do not count."""
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in sorted((path.name for path in folder.iterdir()), reverse=True):
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        else:
            shutil.copy(source, copy / name, follow_symlinks=False)
    os.utime(copy / "file", (1, 1))
    (copy / "file").chmod(0o600)
    (copy / "inside").chmod(0o700)
    assert digest_of(copy) == digest_of(folder)
    assert tar_of(copy).fileobj.getvalue() == tar_of(folder).fileobj.getvalue()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "file").write_text("texT"),
        lambda folder: (folder / "file").rename(folder / "file2"),
        lambda folder: (folder / "file").chmod(0o755),
        lambda folder: (folder / "empty").rmdir(),
        lambda folder: (folder / "new").touch(),
        lambda folder: ((folder / "link").unlink(), (folder / "link").symlink_to("/not/here")),
        lambda folder: ((folder / "empty").rmdir(), (folder / "empty").touch()),
    ],
)
def test_any_change_of_content_changes_the_digest(folder: Path, change: object) -> None:
    """Contents, names, kinds, the executable bit and what a link says."""
    before = digest_of(folder)
    change(folder)  # type: ignore[operator]
    assert digest_of(folder) != before


def test_the_tar_has_no_owners_and_no_times(folder: Path) -> None:
    """Names in order, root's, from 1970; a dangling link is a link; the Dockerfile is added."""
    with tar_of(folder) as tar:
        members = tar.getmembers()
        text = tar.extractfile(DOCKERFILE_NAME)
        assert text is not None
        assert text.read() == b"FROM scratch\n"
    own = [DOCKERFILE_NAME, ".dockerignore"]
    assert [one.name for one in members] == ["empty", "file", "inside", "inside/program", "link", *own]
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {(0, 0, "", "", 0)}
    by_name = {one.name: one for one in members}
    assert [oct(by_name[name].mode) for name in ("file", "inside/program", "inside")] == [
        "0o644",
        "0o755",
        "0o755",
    ]
    assert by_name["link"].linkname == "/not/there"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """Whatever a file is called, it is sent under that name."""
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("a")
    (tmp_path / ("long" * 50)).write_text("b")
    with tar_of(tmp_path) as tar:
        assert os.fsdecode(b"caf\xe9") in tar.getnames()
        assert "long" * 50 in tar.getnames()


def test_what_is_never_sent(folder: Path) -> None:
    """`.git` holds checkout's token and differs between checkouts; `.flaude` is new in every run."""
    before = digest_of(folder)
    for name in (".git", ".flaude", "inside/.git"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("secret")
    (folder / ".dockerignore").write_text("# nothing\n")
    assert digest_of(folder) == before


def test_ignored_files_do_not_count(folder: Path) -> None:
    """They are neither sent nor part of the identity, and folders left out whole are not even opened."""
    ignore = DockerIgnore("inside\n*.log\n")
    before = context_digest(read_context(folder, ignore))
    (folder / "a.log").write_text("a")
    (folder / "inside").chmod(0)
    try:
        assert context_digest(read_context(folder, ignore)) == before
    finally:
        (folder / "inside").chmod(0o755)
    with tar_of(folder, ignore) as tar:
        assert {"empty", "file", "link"} == set(tar.getnames()) - {DOCKERFILE_NAME, ".dockerignore"}


def test_sockets_and_pipes_are_left_out_and_named(folder: Path) -> None:
    """Opening a pipe would wait for ever; it is not opened."""
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(folder / "plug"))
        context = read_context(folder)
    assert context.left_out == ("pipe", "plug")
    assert context_digest(context)


def test_a_context_that_is_too_large(folder: Path) -> None:
    """Refused before anything is read, the largest paths named: these files have no content on the disk."""
    for name, size in (("model.bin", 400), ("inside/data", 90), ("small", 1)):
        with (folder / name).open("wb") as file:
            file.truncate(size * 1_000_000)
    (folder / "many").mkdir()
    for part in ("a", "b"):
        (folder / "many" / part).mkdir()
        with (folder / "many" / part / "file").open("wb") as file:
            file.truncate(30_000_000)
    began = time.process_time()
    with pytest.raises(ConfigError) as raised:
        read_context(folder)
    assert time.process_time() - began < 0.2
    named = (
        "`model.bin` (400 MB), `inside/data` (90 MB), `many/a/` (30 MB), `many/b/` (30 MB), `small` (1 MB)"
    )
    assert named in raised.value.details


def test_a_context_that_is_no_folder(tmp_path: Path) -> None:
    """Told by name."""
    with pytest.raises(ConfigError, match="is no folder"):
        read_context(tmp_path / "nowhere")


def test_a_file_that_becomes_a_link_is_not_followed(folder: Path) -> None:
    """Between the look and the read a file may be replaced; what the link points to is not sent."""
    context = read_context(folder)
    (folder / "file").unlink()
    (folder / "file").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="cannot be read"):
        context_digest(context)


@pytest.mark.parametrize("text", ["other", "longer text", "t"])
def test_files_that_change_while_they_are_read(folder: Path, text: str) -> None:
    """What is sent is what was identified, or nothing is."""
    context = read_context(folder)
    digest = context_digest(context)
    (folder / "file").write_text(text)
    with pytest.raises(ImageError, match="changed"):
        write_tar(context, "FROM scratch\n", digest, io.BytesIO())


def test_a_hundred_files_are_digested_in_no_time(tmp_path: Path) -> None:
    """Under 50 ms, as the identity is computed in every run."""
    for number in range(100):
        place = tmp_path / f"folder{number % 7}"
        place.mkdir(exist_ok=True)
        (place / f"file{number}").write_bytes(os.urandom(4096))
    ignore = DockerIgnore("**/__pycache__\n*.log\n!keep.log\n")
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        context_digest(read_context(tmp_path, ignore))
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05
