"""What `main` leaves for `post`: names of machines, never a secret.

The runner hands `GITHUB_STATE` entries to post as `STATE_*`; act does not do so for Docker actions, so the
same entries also go into a file beside `GITHUB_STATE`, a folder that every container of the job sees.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flaude_action.runner_protocol import file_entry, portable

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "GITHUB_ACTION")
_FILE_BYTES = 64 * 1024


def save_state(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Add to the state. May be called again: a later value of the same name wins."""
    file = environ.get("GITHUB_STATE")
    if not file:
        return
    with Path(file).open("a", encoding="utf-8") as state:
        state.writelines(file_entry(name, value) for name, value in values.items())
    beside = _file_beside(environ)
    with suppress(OSError):  # the runner's own file has it; only act needs this one
        _replace(beside, _read(beside) | {name: portable(value) for name, value in values.items()})


def load_state(environ: Mapping[str, str]) -> dict[str, str]:
    """Everything saved by main in this step: the runner's word first, then the file's."""
    told = {
        name.removeprefix("STATE_"): value
        for name, value in environ.items()
        if name.startswith("STATE_") and value
    }
    return (_read(_file_beside(environ)) if environ.get("GITHUB_STATE") else {}) | told


def _file_beside(environ: Mapping[str, str]) -> Path:
    key = hashlib.sha256("\n".join(environ.get(name, "") for name in _KEYS).encode()).hexdigest()[:16]
    return Path(environ["GITHUB_STATE"]).with_name(f"flaude-{key}.json")


def _replace(file: Path, entries: dict[str, str]) -> None:
    fresh = file.with_suffix(f".{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as copy:
        json.dump(entries, copy)
    fresh.replace(file)


def _read(file: Path) -> dict[str, str]:
    """The file's entries; an absent or damaged file has none."""
    try:
        with file.open(encoding="utf-8") as source:
            found = json.loads(source.read(_FILE_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}
