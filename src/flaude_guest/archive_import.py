"""Download an archive and stream it into `git fast-import`: the program that `archive` runs.

A process of its own, so that it can be ended at any moment and whatever a hostile archive does to it stays
with it. It starts in a bare repository and is told on stdin `{"url", "ref", "message", "max_bytes"}`. Nothing
is unpacked: paths and contents go to git as words and bytes, so no entry can lead out of the repository.
Exit code 0: `ref` names a commit of the content; else stdout has `{"type", "details"}`, stderr git's words.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import resource
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from typing import IO, Any, Iterator

STALL_S = 60.0
CHUNK_BYTES = 256 * 1024
HEADER_MAX_BYTES = 1024 * 1024
"""Of one name or link with all that a header says beside it; a path has 4096 bytes at most."""
MEMORY_MAX_BYTES = 256 * 1024 * 1024
_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
          tarfile.SOLARIS_XHDTYPE)  # fmt: skip
_REFUSED = (401, 403, 404, 410)
_PRINTABLE = frozenset(range(0x20, 0x7F)) - set(b'"\\')
# A large file goes to the disk piece by piece instead of through the memory of a small machine.
_FAST_IMPORT = ("git", "fast-import", "--quiet", "--done", "--depth=0", "--big-file-threshold=16m")


class ImportFailed(Exception):
    """`type` is an id of the catalog, the text our own words."""

    def __init__(self, type: str, details: str) -> None:  # noqa: A002 - the field's name in every JSON form
        super().__init__(details)
        self.type = type


def main() -> int:
    order = json.load(sys.stdin)
    try:
        with _download(order["url"]) as response:
            _into_git(response, order)
    except ImportFailed as failed:
        json.dump({"type": failed.type, "details": str(failed)}, sys.stdout)
        return 1
    return 0


def _too_large() -> ImportFailed:
    return ImportFailed(
        "clone_archive_unusable", "Reading the archive takes more memory than any commit's does."
    )


class _Entry(tarfile.TarInfo):
    """What `tarfile` would gather in memory as part of a header is refused by the header's first block."""

    @classmethod
    def frombuf(cls, *args: Any, **fields: Any) -> _Entry:
        entry = super().frombuf(*args, **fields)
        if (entry.type in _NAMES and entry.size > HEADER_MAX_BYTES) or entry.type == tarfile.GNUTYPE_SPARSE:
            raise _too_large()
        return entry

    def _proc_gnusparse_10(self, *_: Any) -> None:
        """A list of places before a file's content, of which no header tells the size."""
        raise _too_large()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The link is for one host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _download(url: str) -> http.client.HTTPResponse:
    """The answer's body, not read yet. No error here names the link."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    request = urllib.request.Request(url, headers={"User-Agent": "flaude-action"})  # noqa: S310 - `job` checks it
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=STALL_S)
    except urllib.error.HTTPError as error:
        with error:
            type_ = "clone_auth_failed" if error.code in _REFUSED else "clone_failed"
            details = "GitHub answered the archive's link, which is good for minutes, with HTTP %d."
            raise ImportFailed(type_, details % error.code) from None
    except (OSError, http.client.HTTPException):
        raise ImportFailed("clone_failed", "There was no HTTP answer to the archive's link.") from None
    return response


class _Bounded:
    """A stream that may not have more than `left` bytes."""

    def __init__(self, stream: Any, left: int) -> None:
        self._stream = stream
        self._limit = self._left = left

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            details = "The archive holds more than %d MiB." % (self._limit // 2**20)
            raise ImportFailed("clone_archive_unusable", details)
        return data


def _into_git(response: IO[bytes], order: dict[str, Any]) -> None:
    process = subprocess.Popen(_FAST_IMPORT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None  # noqa: S101 - given as PIPE
    # Of this process alone, which git is not: it was started before.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    try:
        _write_commit(process.stdin, response, order)
        process.stdin.close()
    except BrokenPipeError:
        pass  # its exit code says the same, and its own words are on stderr
    except (MemoryError, RecursionError):
        raise _too_large() from None
    except (tarfile.TarError, OSError, EOFError, zlib.error, http.client.HTTPException):
        raise ImportFailed("clone_failed", "The archive did not arrive whole.") from None
    finally:
        if not process.stdin.closed:  # the stream has not been finished, and must not count as one
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        process.wait()
    if process.returncode != 0:
        raise ImportFailed("clone_failed", "git fast-import exited with %d." % process.returncode)


def _write_commit(git: IO[bytes], response: IO[bytes], order: dict[str, Any]) -> None:
    """https://git-scm.com/docs/git-fast-import#_input_format"""
    message = order["message"].encode("utf-8")
    git.write(b"commit %s\n" % order["ref"].encode("ascii"))
    git.write(b"committer flaude-action <noreply@flaude-action> %d +0000\n" % time.time())
    git.write(b"data %d\n%s\n" % (len(message), message))
    compressed: Any = _Bounded(response, order["max_bytes"])
    with gzip.GzipFile(fileobj=compressed) as unzipped:
        content: Any = _Bounded(unzipped, order["max_bytes"])
        with tarfile.open(
            fileobj=content, mode="r|", tarinfo=_Entry, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for mode, path, member in _entries(tar):
                git.write(b"M %s inline %s\n" % (mode, _quoted(path)))
                _write_content(git, tar, member)
        while content.read(CHUNK_BYTES):
            continue  # to the end, where the check sum is
    git.write(b"done\n")


def _entries(tar: tarfile.TarFile) -> Iterator[tuple[bytes, bytes, tarfile.TarInfo]]:
    """(git's mode, path without the archive's one top folder, member) of what git knows: files and links."""
    top = b""
    forget: list[tarfile.TarInfo] = getattr(tar, "members")  # noqa: B009 - every member ever read, maybe millions
    while True:
        member = tar.next()
        if member is None:
            return
        forget.clear()
        first, *parts = member.name.encode("utf-8", "surrogateescape").split(b"/")
        top = top or first
        if first != top or not all(map(_is_name, (first, *parts))) or not (parts or member.isdir()):
            raise ImportFailed("clone_archive_unusable", "The archive has a path that no repository has.")
        if member.isdir():
            continue
        if member.issym():
            mode = b"120000"
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
            mode = b"100755" if member.mode & 0o100 else b"100644"
        else:
            raise ImportFailed("clone_archive_unusable", "An entry of the archive is no file and no link.")
        yield mode, b"/".join(parts), member


def _is_name(part: bytes) -> bool:
    return part not in (b"", b".", b"..") and part.lower() != b".git" and b"\0" not in part


def _write_content(git: IO[bytes], tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.issym():
        target = member.linkname.encode("utf-8", "surrogateescape")
        git.write(b"data %d\n%s\n" % (len(target), target))
        return
    file = tar.extractfile(member)
    assert file is not None  # noqa: S101 - it is a regular file
    git.write(b"data %d\n" % member.size)
    for data in iter(lambda: file.read(CHUNK_BYTES), b""):
        git.write(data)
    git.write(b"\n")


def _quoted(path: bytes) -> bytes:
    """A path as git's C-style string."""
    return b'"%s"' % b"".join(bytes((byte,)) if byte in _PRINTABLE else b"\\%03o" % byte for byte in path)


if __name__ == "__main__":
    sys.exit(main())
