"""Secrets in patches as git writes them are found in names, lines and binary content, and nothing else is."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from tests.support.growth import check_share, seconds_of

from flaude_action import patch_content
from flaude_action.patch_content import SLICE_BYTES
from flaude_action.patch_secrets import files_with_secrets
from flaude_action.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "sk-ant-oat01-" + "c0ffee42" * 6
NOISE = random.Random(7).randbytes(6000)
FOUND = Redactor([SECRET]).found_in

Files = dict[str | bytes, bytes | None]


class Repository:
    """A repository whose patches are made by git, with the guest's own words."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q")
        self.git("commit", "-q", "--allow-empty", "-m", "base")

    def git(self, *words: str) -> bytes:
        config = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "core.autocrlf=false")
        return subprocess.check_output(["git", *config, *words], cwd=self.folder)

    def write(self, files: Files) -> None:
        for name, content in files.items():
            path = self.folder / os.fsdecode(name)
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def patch(self) -> Path:
        """What differs from the last commit."""
        self.git("add", "-A")
        patch = self.folder.parent / "patch"
        words = ("diff-index", "--cached", "--no-renames", "--ignore-submodules=all", "--patch",
                 "--full-index", "--no-ext-diff", "--no-textconv", "--no-color")  # fmt: skip
        kept = self.git(*words, "--binary", "--diff-filter=d", "HEAD", "--")
        patch.write_bytes(kept + self.git(*words, "--diff-filter=D", "HEAD", "--"))
        return patch

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "more")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)


def with_secret(encode: Callable[[bytes], bytes] = bytes) -> bytes:
    return NOISE[:1000] + encode(SECRET.encode()) + NOISE[1000:2000]


LINES = b"".join(b"line %d\n" % number for number in range(100))


@pytest.mark.parametrize(
    ("before", "after", "hits"),
    [
        ({}, {"a": b"x\n", "b": f"x = '{SECRET}'\n".encode(), "c": b"y\n"}, ["b"]),
        ({}, {"a": SECRET.encode()}, ["a"]),
        ({"a": SECRET.encode() + b"\n"}, {"a": None}, ["a"]),
        ({"a": SECRET.encode() + b"\n"}, {"a": b"gone\n"}, ["a"]),
        ({"a": SECRET.encode() + b"\nx\n"}, {"a": SECRET.encode() + b"\ny\n"}, []),
        ({"a": b"1\n%s\n2\n" % SECRET.encode()}, {"a": b"0\n%s\n3\n" % SECRET.encode()}, []),
        ({"a": SECRET.encode() + b"\nx\n"}, {"a": b"%s\n%s\n" % (SECRET.encode(), SECRET.encode())}, ["a"]),
        ({"a": SECRET.encode() + b"\nx\n"}, {"b": SECRET.encode()}, ["b"]),
        ({"a": b"%s\n%s\nx\n" % (SECRET[:9].encode(), SECRET[9:].encode())},
         {"a": b"%s\n%s\ny\n" % (SECRET[:9].encode(), SECRET[9:].encode())}, []),
        ({"a": b"%s\n%s\n" % (SECRET.encode(), SECRET[:20].encode())},
         {"a": b"%s\n%s\n%s\n" % (SECRET.encode(), SECRET[:20].encode(), SECRET[20:].encode())}, ["a"]),
        ({"a": b"%s\n%s\n" % (SECRET[20:].encode(), SECRET.encode())},
         {"a": b"%s\n%s\n%s\n" % (SECRET[:20].encode(), SECRET[20:].encode(), SECRET.encode())}, ["a"]),
        ({"a": b"%s %s\n" % (SECRET.encode(), SECRET[:20].encode())},
         {"a": b"%s %s\n%s\n" % (SECRET.encode(), SECRET[:20].encode(), SECRET[20:].encode())}, ["a"]),
        ({"a": b"%s%s\nx\n" % (b"-" * 300_000, SECRET.encode())},
         {"a": b"%s%s\ny\n" % (b"-" * 300_000, SECRET.encode())}, []),
        ({"a": b"%s\n%s%s\n" % (b"-" * 300_000, SECRET.encode(), SECRET[:20].encode())},
         {"a": b"%s\n%s%s\n%s\n" % (b"-" * 300_000, SECRET.encode(), SECRET[:20].encode(),
                                   SECRET[20:].encode())}, ["a"]),
        ({}, {"a": b"\r\n".join([b"x", SECRET[:20].encode(), SECRET[20:].encode(), b"y\r\n"])}, ["a"]),
        ({"a": b"x\n"}, {"a": b"%s\n%s" % (SECRET[:20].encode(), SECRET[20:].encode())}, ["a"]),
        ({"a": b"%s\n-old\n" % SECRET[:20].encode()},
         {"a": b"%s\n%s\n" % (SECRET[:20].encode(), SECRET[20:].encode())}, ["a"]),
        ({"a": b"%s\n%s\n" % (SECRET[:20].encode(), SECRET[20:].encode())}, {"a": b"+new\n+new\n"}, ["a"]),
        ({"a": LINES}, {"a": LINES.replace(b"e 20\n", SECRET[:20].encode() + b"\n")
                             .replace(b"line 70\n", SECRET[20:].encode() + b"\n")}, []),
        ({"a": LINES}, {"a": LINES.replace(b"line 70\n", SECRET.encode() + b"\n")}, ["a"]),
        ({}, {"a": base64.encodebytes(b"user:" + SECRET.encode())}, ["a"]),
        ({}, {"a": "\u200b".join(SECRET).encode()}, ["a"]),
        ({}, {"a": SECRET.encode("utf-16")}, ["a"]),
        ({}, {SECRET: b"", "x/" + SECRET + "/y": b"1\n", "z": b"1\n"}, [SECRET, f"x/{SECRET}/y"]),
        ({}, {f'q"\t\\{SECRET}': b"x\n"}, [f'q"\t\\{SECRET}']),
        ({}, {"a b": SECRET.encode(), "a b b/a b": b"x"}, ["a b"]),
        ({}, {b"\xff\xe9": SECRET.encode()}, ["\udcff\udce9"]),
        ({}, {"ü\nx": SECRET.encode()}, ["ü\nx"]),
        ({}, {"a": with_secret()}, ["a"]),
        ({}, {"a": NOISE, "b": b"\0\0" + SECRET.encode("utf-16-be"), "c": NOISE}, ["b"]),
        ({}, {"a": b"\0" + NOISE[:1001].replace(b"\n", b"") + SECRET.encode("utf-16-le")}, ["a"]),
        ({"a": with_secret()}, {"a": None}, []),  # of a binary file that is gone the patch has no content
        ({"a": NOISE}, {"a": NOISE[:3000] + SECRET.encode() + NOISE[3000:]}, ["a"]),
        ({"a": NOISE[:3000] + SECRET.encode() + NOISE[3000:]}, {"a": NOISE}, ["a"]),
        ({"a": NOISE}, {"a": NOISE[:3000] + b"innocent" + NOISE[3000:]}, []),
        ({"a": NOISE}, {"a": NOISE[:2000] + NOISE[::-1][:100] + SECRET.encode() + NOISE[2000:]}, ["a"]),
        ({"a": b"x\n"}, {"a": b"diff --git a/q b/q\n@@ -1 +1 @@\nGIT binary patch\n\n--- a\n+++ b\n"}, []),
        ({}, {"a": b"", "b": b"\n", "c": b"\n\n\n", "d": b"\\ No newline at end of file"}, []),
    ],
)  # fmt: skip
def test_what_git_writes(repository: Repository, before: Files, after: Files, hits: list[str]) -> None:
    """The files are named in whose part of the patch the secret stands, however it is written there."""
    repository.write(before)
    repository.commit()
    repository.write(after)
    patch = repository.patch()
    assert patch.read_bytes()
    assert files_with_secrets(patch, FOUND) == hits


def test_modes_and_links(repository: Repository) -> None:
    """A change of mode has no content; what a link points to is its content; of a new type there are two."""
    repository.write({"mode": b"x\n", "type": b"x\n"})
    repository.commit()
    (repository.folder / "mode").chmod(0o755)
    (repository.folder / "link").symlink_to(SECRET)
    (repository.folder / "type").unlink()
    (repository.folder / "type").symlink_to(f"/{SECRET}")
    patch = repository.patch()
    assert b"old mode" in patch.read_bytes()
    assert files_with_secrets(patch, FOUND) == ["link", "type"]


def test_both_kinds_of_binary_content(repository: Repository) -> None:
    """git does write deltas here, so the cases above try them; of a long insertion no byte is missed."""
    repository.write({"a": NOISE})
    repository.commit()
    long = SECRET * 8
    repository.write({"a": NOISE[:3000] + long.encode() + NOISE[3000:], "b": NOISE[:99] + long.encode()})
    patch = repository.patch()
    content = patch.read_bytes()
    assert b"\ndelta " in content
    assert b"\nliteral " in content
    assert files_with_secrets(patch, Redactor([long]).found_in) == ["a", "b"]


def test_the_name_of_a_section(repository: Repository) -> None:
    """git shows a line of the old file behind a hunk's head, from wherever it is: no change put it there."""
    lines = [b" x %d\n" % number for number in range(40)]
    repository.write({"a": SECRET.encode() + b"\n" + b"".join(lines)})
    repository.commit()
    lines[30] = b" other\n"
    repository.write({"a": SECRET.encode() + b"\n" + b"".join(lines)})
    patch = repository.patch()
    assert f"@@ {SECRET}".encode() in patch.read_bytes()
    assert files_with_secrets(patch, FOUND) == []


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("at", [SLICE_BYTES - 30, SLICE_BYTES * 2, 5 * SLICE_BYTES + 17])
def test_long_lines_and_large_files(repository: Repository, at: int, *, binary: bool) -> None:
    """Wherever it lies in what is read in slices, it is found; `found` gets no more than two slices."""
    fill = random.Random(at).randbytes(7 * SLICE_BYTES)
    filling = fill if binary else base64.b64encode(fill)
    repository.write({"a": filling[:at] + SECRET.encode() + filling[at:], "b": filling})
    longest = 0

    def found(text: str) -> bool:
        nonlocal longest
        longest = max(longest, len(text))
        return FOUND(text)

    assert files_with_secrets(repository.patch(), found) == ["a"]
    assert longest <= 2 * SLICE_BYTES


def binary_patch(kind: bytes, size: int, inflated: bytes) -> bytes:
    deflated = zlib.compress(inflated)
    lines = b""
    for start in range(0, len(deflated), 52):
        part = deflated[start : start + 52]
        letter = len(part) + (64 if len(part) <= 26 else 70)
        lines += bytes([letter]) + base64.b85encode(part + bytes(-len(part) % 4)) + b"\n"
    head = b"diff --git a/x b/x\nindex %s..%s 100644\nGIT binary patch\n" % (b"1" * 40, b"2" * 40)
    return head + b"%s %d\n" % (kind, size) + lines + b"\n"


TEXT = b"diff --git a/x b/x\nindex 1111..2222 100644\n--- a/x\n+++ b/x\n"
MALFORMED = {
    "no patch": b"hello\n",
    "cut in a name": b"diff --git a/x",
    "two names": b"diff --git a/x b/y\n",
    "no prefix": b"diff --git x x\n",
    "another header": b"diff --git a/x b/x\nrename from y\n",
    "content that is not there": b"diff --git a/x b/x\nBinary files a/x and b/x differ\n",
    "a hunk without its head": TEXT + b"@@ one @@\n+x\n",
    "too few lines": TEXT + b"@@ -0,0 +1,3 @@\n+x\n",
    "too many lines": TEXT + b"@@ -1,2 +1 @@\n x\n y\n",
    "a line without a sign": TEXT + b"@@ -0,0 +1,2 @@\n+x\ny\n",
    "cut in a line": TEXT + b"@@ -0,0 +1,1 @@\n+x",
    "text after a hunk": TEXT + b"@@ -0,0 +1,1 @@\n+x\n+y\n",
    "a longer content": binary_patch(b"literal", 3, b"four"),
    "a shorter content": binary_patch(b"literal", 5, b"four"),
    "too much content": binary_patch(b"literal", 1 << 31, b"four"),
    "a delta that is cut": binary_patch(b"delta", 4, b"\x04\x04\x05a"),
    "a delta without an end of its sizes": binary_patch(b"delta", 2, b"\xff\xff"),
    "a delta's reserved code": binary_patch(b"delta", 3, b"\x04\x04\x00"),
    "no zlib": binary_patch(b"literal", 4, b"four").replace(b"c", b"d", 1),
    "no base85": binary_patch(b"literal", 4, b"four").replace(b"\nL", b"\nL "),
    "binary content without an end": binary_patch(b"literal", 4, b"four")[:-1],
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_patch_of_ours(tmp_path: Path, text: bytes) -> None:
    """Of what cannot be read nothing is known, and that is said."""
    (tmp_path / "patch").write_bytes(text)
    with pytest.raises(ValueError, match=r"patch|hunk|binary|base85"):
        files_with_secrets(tmp_path / "patch", FOUND)


@pytest.mark.parametrize("size", [0, 1, 26, 27, 52, 53, 104, 5000])
def test_lengths_of_binary_content(tmp_path: Path, size: int) -> None:
    """Every length that a line may have is read as git writes it."""
    (tmp_path / "patch").write_bytes(binary_patch(b"literal", size, random.Random(size).randbytes(size)))
    assert files_with_secrets(tmp_path / "patch", FOUND) == []


def test_an_empty_patch(tmp_path: Path) -> None:
    (tmp_path / "patch").touch()
    assert files_with_secrets(tmp_path / "patch", FOUND) == []


def test_a_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that says it is small and is not, is given up where it says it ends."""
    monkeypatch.setattr(patch_content, "PIECE_BYTES", 1000)
    (tmp_path / "patch").write_bytes(binary_patch(b"literal", 5000, bytes(50_000_000)))
    looked = 0

    def found(text: str) -> bool:
        nonlocal looked
        looked += len(text)
        return False

    with pytest.raises(ValueError, match="longer"):
        files_with_secrets(tmp_path / "patch", found)
    assert looked < 100_000


ADDED = (
    "diff --git a/{0} b/{0}\nnew file mode 100644\nindex 1111..2222\n--- /dev/null\n+++ b/{0}\n"
    "@@ -0,0 +1,{1} @@\n"
)
AROUND = "diff --git a/x b/x\nindex 1111..2222 100644\n--- a/x\n+++ b/x\n@@ -1,{0} +1,{1} @@\n"
SHAPES: dict[str, Callable[[int], bytes]] = {
    "one line": lambda size: ADDED.format("x", 1).encode() + b"+" + b"sk-ant-o" * (size // 8) + b"\n",
    "short lines": lambda size: ADDED.format("x", size // 3).encode() + b"+x\n" * (size // 3),
    "many files": lambda size: b"".join(
        ADDED.format(number, 1).encode() + b"+x\n" for number in range(size // 100)
    ),
    "noise": lambda size: binary_patch(b"literal", size // 4, random.Random(1).randbytes(size // 4)),
    "many insertions": lambda size: binary_patch(
        b"delta", size // 4 * 4 + 2, b"\x04\x04" + b"\x01a\x81\x02" * (size // 4)
    ),
    "hits everywhere": lambda size: b"".join(
        ADDED.format(number, 1).encode() + b"+" + SECRET.encode() + b"\n" for number in range(size // 160)
    ),
    "hits in the context": lambda size: (
        AROUND.format(size // 70, size // 70 * 2).encode()
        + (b" " + SECRET.encode() + b"\n+xyz\n") * (size // 70)
    ),
}


@pytest.mark.parametrize("encode", [bytes, bytes.hex, base64.b64encode, base64.encodebytes])
def test_a_very_long_secret(tmp_path: Path, encode: Callable[[bytes], bytes | str]) -> None:
    """As long as a value of `env` may be, and wherever the slices end that are searched."""
    secret = base64.b64encode(random.Random(3).randbytes(47_000))
    found_in = Redactor([secret.decode()], lines=False).found_in
    written = encode(secret)
    written = written.encode() if isinstance(written, str) else written

    def found(text: bytes) -> dict[str, None]:
        lines = text.split(b"\n")
        header = ADDED.format(1, len(lines)).encode()
        (tmp_path / "patch").write_bytes(header + b"".join(b"+" + line + b"\n" for line in lines))
        return files_with_secrets(tmp_path / "patch", found_in)

    for before in (0, 90_000, 127_000):
        assert found(b"x" * before + b"\n" + written)
    assert not found(b"x" * 90_000 + b"\n" + written[:1500])


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_time_grows_with_the_patch(tmp_path: Path, shape: Callable[[int], bytes]) -> None:
    """Whatever the patch is made of."""

    def seconds(size: int) -> float:
        return seconds_of(searched, shape(size))

    def searched(patch: bytes) -> None:
        (tmp_path / "patch").write_bytes(patch)
        files_with_secrets(tmp_path / "patch", lambda text: SECRET in text)

    check_share(seconds, 200_000)


def test_memory_stays_small(tmp_path: Path) -> None:
    """A patch as large as may be is never in memory whole."""
    (tmp_path / "patch").write_bytes(SHAPES["one line"](20_000_000) + SHAPES["short lines"](300_000))
    tracemalloc.start()
    try:
        files_with_secrets(tmp_path / "patch", lambda text: SECRET in text)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
