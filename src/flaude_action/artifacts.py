"""The folder `.flaude/<step>/` in the workspace, where a step leaves its files for the next ones.

Everything is opened from the workspace downwards without following links, because the workspace may have been
filled by a pull request; files are made anew and never opened in place. Reading files that the workflow names
is `workspace_file`'s; what goes into the files is the callers'.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from flaude_action.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

FOLDER = ".flaude"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Artifacts:
    """An open `.flaude/<step>/`. Paths given out are relative to the workspace, for any later step.

    Files belong to the owner of the workspace, as a checkout's do, or the runner could not clean them up.
    """

    def __init__(self, workspace: Path, step: str) -> None:
        """Make or reopen the folder and empty it. Raises ConfigError when a link or a file is in the way."""
        self.folder = f"{FOLDER}/{re.sub('[^A-Za-z0-9_-]+', '-', step).strip('-') or 'step'}"
        try:
            owner = workspace.stat()
            self._owner = (owner.st_uid, owner.st_gid)
            with ExitStack() as stack:
                root = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, root)
                parent = self._open_folder(FOLDER, root)
                stack.callback(os.close, parent)
                self._write(".gitignore", b"*\n", parent)
                self._fd = self._open_folder(self.folder.partition("/")[2], parent)
            self._empty()
        except OSError as error:
            raise ConfigError(
                "config_invalid",
                f"The folder `{FOLDER}` in the workspace cannot be used ({os.strerror(error.errno or 0)}).",
                hint=f"Let `{FOLDER}` there be a folder that root can write, or nothing; a link is refused.",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def path(self, name: str) -> str:
        """`.flaude/<step>/<name>`."""
        return f"{self.folder}/{name}"

    def write(self, name: str, data: bytes) -> str:
        """Write a file whole and return its path."""
        self._write(name, data, self._fd)
        return self.path(name)

    def open(self, name: str) -> BinaryIO:
        """A new file to be written as the run goes; the caller closes it."""
        return os.fdopen(self._create(name, self._fd), "wb")

    def take(self, name: str, source: Path) -> str:
        """Copy a file from elsewhere on this machine and return its new path."""
        with source.open("rb") as given, self.open(name) as file:
            while chunk := given.read(1024 * 1024):
                file.write(chunk)
        return self.path(name)

    def remove(self, name: str) -> None:
        """Take away a file that could not be written to its end."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)

    def _write(self, name: str, data: bytes, folder: int) -> None:
        with os.fdopen(self._create(name, folder), "wb") as file:
            file.write(data)

    def _create(self, name: str, folder: int) -> int:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name in (".", ".."):
            raise ValueError(f"not a file name: {name!r}")
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        descriptor = os.open(name, _FILE_FLAGS, 0o644, dir_fd=folder)
        self._give_away(descriptor)
        return descriptor

    def _empty(self) -> None:
        """What an earlier run left on a self-hosted runner must not pass for this run's."""
        for name in os.listdir(self._fd):  # noqa: PTH208 - a path has no descriptor
            status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(name, dir_fd=self._fd)  # follows no link
            else:
                os.unlink(name, dir_fd=self._fd)

    def _open_folder(self, name: str, parent: int) -> int:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        self._give_away(descriptor)
        return descriptor

    def _give_away(self, descriptor: int) -> None:
        if os.geteuid() == 0:
            with suppress(OSError):  # root may not everywhere: on NFS, say; then the files stay root's
                os.fchown(descriptor, *self._owner)
