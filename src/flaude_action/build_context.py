"""What a build sends to the engine: which files of a folder, their digest, and the tar of them.

Times, owners and all permissions but "executable" are left out of both, so that the same bytes have the same
digest on every machine. What the files are for is the callers'.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from flaude_action.dockerignore import DockerIgnore
from flaude_action.errors import ConfigError, ImageError
from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_BYTES: Final = 500 * 1024 * 1024
NAMED: Final = 5
"""How many paths a refusal names."""
DOCKERFILE_NAME: Final = ".flaude-dockerfile"
"""Where the tar has the Dockerfile: the context's own may lie elsewhere, be left out, or name no digest."""
_NEVER: Final = (".git",)
"""Differs between two checkouts of one commit, and checkout leaves a token in it."""
_NEVER_ON_TOP: Final = (".flaude",)
"""What steps of this action leave in the workspace: new in every run."""


@dataclass(frozen=True)
class Entry:
    """A file, folder or link: `name` in the context, where it is, its size; `target` is a link's."""

    name: str
    path: Path
    kind: str
    size: int = 0
    executable: bool = False
    target: str = ""


@dataclass(frozen=True)
class Context:
    """A folder's files in the order of their names; `left_out` names what cannot be sent (sockets, …)."""

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()


def read_context(folder: Path, ignore: DockerIgnore | None = None, prefix: str = "") -> Context:
    """Look at the folder, opening no file of it. Every name begins with `prefix`.

    Raises ConfigError when it is no folder, cannot be listed, or is over 500 MB, naming the largest paths.
    """
    if not folder.is_dir():
        raise ConfigError("config_invalid", f"The build context {quoted(str(folder))} is no folder.")
    entries: list[Entry] = []
    left_out: list[str] = []
    try:
        for name, found, info in _walk(folder, "", ignore or DockerIgnore()):
            entry = _entry(prefix + name, found, info)
            if entry is None:
                left_out.append(name)
            else:
                entries.append(entry)
    except OSError as error:
        raise _unreadable(error) from error
    entries.sort(key=lambda entry: os.fsencode(entry.name))
    _check_size(entries)
    return Context(tuple(entries), tuple(sorted(left_out)))


def context_digest(context: Context) -> str:
    """`sha256:…` of names, kinds, executable bits, contents and link targets. Raises ConfigError."""
    whole = hashlib.sha256()
    for entry in context.entries:
        content = b""
        if entry.kind == "file":
            with _opened(entry) as file:
                content = hashlib.file_digest(file, "sha256").digest()
        whole.update(_frame(entry, content))
    return f"sha256:{whole.hexdigest()}"


def write_tar(context: Context, dockerfile: str, digest: str, target: BinaryIO) -> None:
    """Write the context and the Dockerfile (as `DOCKERFILE_NAME`) as a tar that classic builders take.

    The engine's own look at `.dockerignore` is told to take the Dockerfile away again, so that `COPY . .`
    does not see it; the user's `.dockerignore` has been obeyed by then. Raises ImageError when the files are
    not those of `digest` any more, ConfigError when one cannot be read.
    """
    whole = hashlib.sha256()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in context.entries:
            content = _add(tar, entry)
            whole.update(_frame(entry, content))
        own = {DOCKERFILE_NAME: dockerfile, ".dockerignore": f"{DOCKERFILE_NAME}\n.dockerignore\n"}
        for name, text in own.items():
            info = tarfile.TarInfo(name)
            info.size = len(data := text.encode("utf-8", "surrogateescape"))
            tar.addfile(info, BytesIO(data))
    if f"sha256:{whole.hexdigest()}" != digest:
        raise _changed()


def _walk(folder: Path, inside: str, ignore: DockerIgnore) -> Iterator[tuple[str, Path, os.stat_result]]:
    with os.scandir(folder) as listing:
        found = list(listing)
    for one in found:
        name = inside + one.name
        if one.name in _NEVER or name in _NEVER_ON_TOP or name == ".dockerignore":
            continue
        ignored = ignore.ignores(name)
        if not ignored:
            yield name, Path(one.path), one.stat(follow_symlinks=False)
        if one.is_dir(follow_symlinks=False) and (not ignored or ignore.may_keep_inside(name)):
            yield from _walk(Path(one.path), f"{name}/", ignore)


def _entry(name: str, path: Path, info: os.stat_result) -> Entry | None:
    mode = info.st_mode
    if stat.S_ISREG(mode):
        return Entry(name, path, "file", info.st_size, executable=bool(mode & stat.S_IXUSR))
    if stat.S_ISDIR(mode):
        return Entry(name, path, "folder")
    if stat.S_ISLNK(mode):
        return Entry(name, path, "link", target=os.readlink(path))  # noqa: PTH115 - as written, not as a Path
    return None


def _check_size(entries: list[Entry]) -> None:
    total = sum(entry.size for entry in entries)
    if total <= LARGEST_BYTES:
        return
    largest = sorted(_by_top(entries).items(), key=lambda pair: (-pair[1], pair[0]))[:NAMED]
    named = ", ".join(f"{quoted(name)} ({size / 1e6:.0f} MB)" for name, size in largest)
    raise ConfigError(
        "config_invalid",
        f"The build context has {total / 1e6:.0f} MB; {LARGEST_BYTES / 1e6:.0f} MB are allowed.",
        details=f"The largest paths: {named}.",
        hint="Name what the build does not need in `.dockerignore`.",
    )


def _by_top(entries: list[Entry]) -> dict[str, int]:
    """Sizes of the files, and of folders of many small ones, down to two levels."""
    sizes: dict[str, int] = {}
    for entry in entries:
        top = "/".join(entry.name.split("/")[:2]) + ("/" if entry.name.count("/") > 1 else "")
        sizes[top] = sizes.get(top, 0) + entry.size
    return sizes


def _frame(entry: Entry, content: bytes) -> bytes:
    parts = (entry.kind.encode(), os.fsencode(entry.name), b"x" if entry.executable else b"", content,
             os.fsencode(entry.target))  # fmt: skip
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def _add(tar: tarfile.TarFile, entry: Entry) -> bytes:
    """Add an entry; the digest of what was read for it."""
    info = tarfile.TarInfo(entry.name)
    info.mode = 0o755 if entry.executable or entry.kind == "folder" else 0o644
    if entry.kind == "folder":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    if entry.kind != "file":
        tar.addfile(info)
        return b""
    info.size = entry.size
    with _opened(entry) as file:
        reader = _Digesting(file)
        try:
            tar.addfile(info, reader)
        except OSError as error:
            if error.args == ("unexpected end of data",):
                raise _changed() from None
            raise
        return reader.digest()


class _Digesting:
    """A file that remembers the digest of what was read from it."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def digest(self) -> bytes:
        return self._digest.digest()


def _opened(entry: Entry) -> BufferedReader:
    """The file, if it still is one: what replaced it is not followed and not waited for."""
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.fdopen(os.open(entry.path, flags), "rb")
    except OSError as error:
        raise _unreadable(error) from error


def _changed() -> ImageError:
    return ImageError("image_build_failed", details="The files changed while they were read.")


def _unreadable(error: OSError) -> ConfigError:
    return ConfigError(
        "config_invalid",
        f"The build context cannot be read: {quoted(os.fsdecode(error.filename or ''))}"
        f" ({os.strerror(error.errno or 0)}).",
    )
