"""What one run is asked for and what it gives back: plain values, shared by `execution` and its callers.

The verdict inside is `verdict`'s; here it only becomes the exception that fits it.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flaude_action import left_out
from flaude_action.catalog import CATALOG
from flaude_action.errors import AgentError, FlaudeError, MachineExitError, MachineTimeout, RunCancelled
from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from flaude_action.evidence import Evidence
    from flaude_action.launch import Launch
    from flaude_action.log_lines import LogLine
    from flaude_action.machine import Machine
    from flaude_action.machine_config import MachineConfig
    from flaude_action.verdict import Verdict

CHANGESET_ROWS = 500_000
"""More than this are not read: a row takes at least 130 bytes of a document that has 64 MiB at most."""
_AGENT_PHASES = ("agent", "model_api", "context", "limit")
_PULL_IMAGE = "Check that Fly can pull `image:`; if it can, run again, or name another region in `regions:`."
_NAMED = 5
"""As many files are named in a sentence."""
_TIMEOUTS = ("run_timeout", "machine_boot_timeout", "agent_silent_timeout")


_FILES = re.compile(r'"files"\s*:\s*\[\s*')
_NEXT = re.compile(r"\s*,?\s*")


def _ignore(_: object) -> None:
    return None


async def _ignore_lines(_: list[LogLine]) -> None:
    return None


async def _ignore_files(_: Mapping[str, Path]) -> None:
    return None


def _none(_: str) -> bool:
    return False


async def _as_it_is(config: MachineConfig) -> MachineConfig:
    return config


@dataclass(frozen=True)
class Errand:
    """Where and for whom: the app, the digest of who started the run, the folder for the guest's files.

    `complete` is asked when the machine is up and about to get its job, for what is good for minutes only;
    `holds_secret` whether a credential of the caller's stands in a text.
    """

    app: str
    run: str
    folder: Path
    name: str = ""
    wait_timeout: float | None = None
    complete: Callable[[MachineConfig], Awaitable[MachineConfig]] = _as_it_is
    holds_secret: Callable[[str], bool] = _none


@dataclass(frozen=True)
class Watcher:
    """What the caller is told while it happens; called on the event loop, so quick.

    Only two may take their time: `lines`, a page of the log, and `collected`, the guest's files by name. Then
    reading the log waits, and nothing else does.
    """

    launching: Callable[[Launch], None] = _ignore
    created: Callable[[Machine], None] = _ignore
    phase: Callable[[str], None] = _ignore
    lines: Callable[[list[LogLine]], Awaitable[None]] = _ignore_lines
    judged: Callable[[Verdict], None] = _ignore
    collected: Callable[[Mapping[str, Path]], Awaitable[None]] = _ignore_files


@dataclass(frozen=True)
class Outcome:
    """Everything known at the end of one run.

    `phase_seconds` is in the order things happened; `machine_seconds` is how long the machine was seen to
    run, None when it never started. `secret_in` are the changed files in which a credential stands, untrusted
    names: then there is no patch among `files`.
    """

    verdict: Verdict
    evidence: Evidence
    machine_id: str
    region: str
    image: str
    cleanup: str = ""
    log_refused: str = ""
    trouble: FlaudeError | None = None
    problems: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    secret_in: tuple[str, ...] = ()
    phase_seconds: dict[str, float] = field(default_factory=dict)
    machine_seconds: float | None = None

    @property
    def result(self) -> dict[str, Any]:
        return self.evidence.result or {}

    @property
    def state(self) -> str:
        """Fly's last word on the machine, or what our own destroy made of it."""
        return self.evidence.state or ("" if self.cleanup.startswith("leaked") else "destroyed")

    @property
    def agent(self) -> dict[str, Any]:
        agent = self.result.get("agent")
        return agent if isinstance(agent, dict) else {}

    def changes(self) -> list[dict[str, Any]]:
        """`{path, status, size}` of what was added, modified or deleted, as the guest's changeset tells.

        Without the changeset, the paths that the result document tells of, and of each no more than that. The
        paths are untrusted text.
        """
        return self._changes

    @cached_property
    def _changes(self) -> list[dict[str, Any]]:
        path = self.files.get("changeset")
        try:
            rows = list(_rows(path.read_text("utf-8"))) if path is not None else self._told_paths()
        except (ValueError, RecursionError):
            rows = self._told_paths()
        return [
            {"path": str(row.get("path")), "status": str(row.get("status")), "size": number(row.get("size"))}
            for row in rows
            if isinstance(row, dict)
        ]

    def _told_paths(self) -> list[dict[str, Any]]:
        changeset = self.result.get("changeset")
        paths = changeset.get("paths") if isinstance(changeset, dict) else None
        listed = paths if isinstance(paths, list) else []
        return [{"path": each, "status": ""} for each in listed if isinstance(each, str)]

    def changed_files(self) -> list[str]:
        """The paths of `changes`."""
        return [change["path"] for change in self.changes()]

    def stands_in(self) -> str:
        """The files in which a credential stands, as a sentence."""
        more = len(self.secret_in) - _NAMED
        names = ", ".join(map(quoted, self.secret_in[:_NAMED]))
        return f"It stands in {names}{f' and {more} more' if more > 0 else ''}."

    def failure(self, logs: list[str]) -> FlaudeError | None:
        """The exception that says why it failed, None when it did not."""
        verdict = self.verdict
        if verdict.ok:
            return None
        if self.trouble is not None and self.trouble.type == verdict.type:
            return self.trouble
        meta: dict[str, Any] = {"machine_id": self.machine_id, "exit_code_source": verdict.source}
        details = verdict.details
        if self.evidence.work_lost and verdict.type == "collect_failed":
            details = " ".join(filter(None, (details, *self.problems)))
        if verdict.type == "secret_in_changes":
            details = self.stands_in()
        if verdict.retry_at is not None:
            meta["retry_at"] = verdict.retry_at
            moment = datetime.fromtimestamp(verdict.retry_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
            details = f"{details} It resets at {moment}.".strip()
        told: dict[str, Any] = {"details": details, "dev": verdict.line, "meta": meta}
        if self.evidence.never_started and verdict.type in ("machine_failed", "machine_lost"):
            told["hint"] = _PULL_IMAGE
        if verdict.type == "collect_failed" and "patch" in self.files:  # else that is the worse news
            told |= left_out.failure(self.result)
        if verdict.type in _TIMEOUTS:
            return MachineTimeout(verdict.type, **told)
        if verdict.conclusion == "cancelled":
            return RunCancelled("cancelled", **told)
        kind = known_type(verdict.type)
        error = AgentError if CATALOG[kind].phase in _AGENT_PHASES else MachineExitError
        return error(self.machine_id, verdict.exit_code, self.state, logs, type=kind, **told)


def _rows(document: str) -> Iterator[Any]:
    """The members of the document's list `files`, one by one: nothing can interrupt the reading of them all.

    Raises ValueError.
    """
    begin, decoder = _FILES.search(document), json.JSONDecoder()
    if begin is None:
        raise ValueError("it has no list of files")
    at, rows = begin.end(), 0
    while not document.startswith("]", at):
        row, at = decoder.raw_decode(document, at)
        if (rows := rows + 1) > CHANGESET_ROWS:
            raise ValueError("more rows than a guest of ours can write")
        yield row
        after = _NEXT.match(document, at)
        at = after.end() if after is not None else at


def known_type(type_: str) -> str:
    """`type_` when the catalog has it: a guest of another release may say more than we know."""
    return type_ if type_ in CATALOG else "agent_error"


def number(value: object) -> float | None:
    """The value when it is a number that JSON has, so that a report stays what its schema says."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) <= sys.float_info.max else None


def whole(value: object) -> int | None:
    """The value when it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
