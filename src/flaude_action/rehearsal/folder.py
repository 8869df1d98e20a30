"""The folder that a rehearsal's files go to: its own, also while another one uses the same cache."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

from flaude_action.rehearsal.image import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def own_folder(cache: Path) -> Iterator[Path]:
    """An empty folder in the cache: `rehearsal`, or one with a number while another rehearsal is in that.

    Raises Unavailable when the cache cannot be one.
    """
    cache, number = cache.resolve(), 1
    with ExitStack() as held:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            while not _locked(held.enter_context((cache / f"rehearsal-{number}.lock").open("w"))):
                number += 1
            folder = cache / ("rehearsal" if number == 1 else f"rehearsal-{number}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        except OSError as problem:
            raise Unavailable(f"{problem.filename} cannot be used ({problem.strerror})") from problem
        yield folder


def _locked(file: TextIO) -> bool:
    """Whether the file is now ours, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
