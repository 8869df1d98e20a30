"""A run's files, from the machine's folder into the workspace, and what there was no room for on the runner.

The patch is handed on byte for byte, once `execution` has had it searched for credentials; the transcript
passes through the redactor, because GitHub masks logs but no files. The log file is `step`'s.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from flaude_action.errors import FlaudeError
from flaude_action.guest_work import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from flaude_action.artifacts import Artifacts
    from flaude_action.report import Report

EVENT_MAX_BYTES = 1024 * 1024
"""Longer lines of the transcript are left out: nothing can interrupt the reading of one as JSON, so it must
be over before it keeps anybody waiting. What is longer holds pictures, or is no event."""
TELL_S = 60.0
"""How long a transcript that is made to cost time may cost it."""
_MAKE_ROOM = "Make room on the runner's disk, or use a runner with a larger one, and run again."


class Hurried(Exception):
    """There is no time for this any more."""


@dataclass
class Kept:
    """Paths in the workspace, and why a file got none, each by the output that names the file."""

    paths: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def failure(self) -> FlaudeError | None:
        """Work that is lost is no success; a transcript that is lost decides nothing."""
        why = self.lost.get("patch_file")
        return FlaudeError("collect_failed", details=why, hint=_MAKE_ROOM) if why else None

    def notes(self, failure: FlaudeError | None) -> list[str]:
        """What was lost, but for what the failure itself says."""
        return [why for why in self.lost.values() if failure is None or why not in failure.details]


def keep_patch(kept: Kept, files: Mapping[str, Path], artifacts: Artifacts) -> None:
    """Write the patch, unless it is empty, as it is where nothing was changed."""
    if (patch := files.get("patch")) is not None and patch.stat().st_size:
        _keep(kept, "patch_file", FILES["patch"], artifacts, partial(artifacts.take, FILES["patch"], patch))


def keep_transcript(
    kept: Kept,
    files: Mapping[str, Path],
    report: Report,
    artifacts: Artifacts,
    hurried: Callable[[], bool] = lambda: False,
) -> None:
    """Write the transcript without secrets. `hurried` is asked all the while whether to give it up."""
    if (transcript := files.get("transcript")) is not None:
        write = partial(redacted_copy, transcript, FILES["transcript"], report, artifacts, hurried)
        _keep(kept, "execution_file", FILES["transcript"], artifacts, write)


def _keep(kept: Kept, output: str, name: str, artifacts: Artifacts, write: Callable[[], str]) -> None:
    try:
        kept.paths[output] = write()
    except Hurried:
        artifacts.remove(name)
        kept.lost[output] = f"`{output}` was not written: there was no time to take the secrets out of it."
    except OSError as error:
        artifacts.remove(name)  # half a patch would apply, and be taken for the whole
        why = os.strerror(error.errno or 0)
        kept.lost[output] = f"`{output}` could not be written into the workspace ({why})."


def redacted_copy(
    source: Path, name: str, report: Report, artifacts: Artifacts, hurried: Callable[[], bool] = lambda: False
) -> str:
    """Lines of JSON, without secrets; one that is too long is only counted.

    Raises Hurried when there is hurry, and more left than is done at once.
    """
    with source.open("rb") as given, artifacts.open(name) as file:
        size = os.fstat(given.fileno()).st_size
        while data := given.readline(EVENT_MAX_BYTES + 1):
            if size - given.tell() > EVENT_MAX_BYTES and hurried():
                raise Hurried
            if len(data) > EVENT_MAX_BYTES and not data.endswith(b"\n"):
                file.write(_cut_line(len(data) + _skip_line(given)))
            else:
                line = data.decode("utf-8", "replace")
                file.write(report.redact_json_line(line).encode("utf-8", "replace"))
    return artifacts.path(name)


def _skip_line(file: BinaryIO) -> int:
    """How many bytes there were, but for the line's end."""
    count = 0
    while data := file.readline(EVENT_MAX_BYTES):
        count += len(data)
        if data.endswith(b"\n"):
            return count - 1
    return count


def _cut_line(count: int) -> bytes:
    note = {"type": "flaude", "subtype": "line_cut", "bytes": count}
    return json.dumps(note).encode("ascii") + b"\n"
