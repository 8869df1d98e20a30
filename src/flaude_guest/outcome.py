"""What the run comes to: gathered while the journey goes, frozen into the result document at its end.

The document's shape is the guest protocol's; how it is kept and told is in `record`.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flaude_guest import protocol
from flaude_guest.events import number, whole, word
from flaude_guest.secrecy import NOTHING, Secrecy

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.agent import AgentRun
    from flaude_guest.changeset import Changeset
    from flaude_guest.judgement import Judgement
    from flaude_guest.processes import Ended

FILES = ("transcript", "patch", "changeset")
LINE_CHARS = 2000
PATH_CHARS = 300
EXIT_TIMEOUT = 124
EXIT_CANCELLED = 130
EXIT_TERMINATED = 143
EXIT_UNUSABLE = 70
_EXITS = {
    "run_timeout": EXIT_TIMEOUT,
    "cancelled": EXIT_CANCELLED,
    "machine_stopped_externally": EXIT_TERMINATED,
    "environment_unusable": EXIT_UNUSABLE,
    "internal_error": EXIT_UNUSABLE,
}


@dataclass
class Outcome:
    """Fields of the result. The first failure stays; what goes wrong after it can only be a warning."""

    error: dict[str, Any] | None = None
    exit_code: int = 0
    setup: dict[str, Any] | None = None
    agent: dict[str, Any] | None = None
    oom_kills: int = 0
    oom_agent: bool = False
    base_sha: str = ""
    changeset: Changeset | None = None
    findings: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    secrecy: Secrecy = NOTHING

    def fail(
        self, type: str, phase: str, details: str = "", line: str = "", *,  # noqa: A002
        code: int = 1, retry_at: float | None = None,
    ) -> None:  # fmt: skip
        """`code` is what the guest will exit with, unless the type has a code of its own."""
        if self.error is None:
            self.exit_code = _EXITS.get(type, code or 1)
            line = self.secrecy.cut(line, LINE_CHARS)
            self.error = {
                "type": type,
                "phase": phase,
                "details": details,
                "line": line,
                "retry_at": retry_at,
            }

    def warn(self, type: str, details: str) -> None:  # noqa: A002
        self.warnings.append({"type": type, "details": details})

    def setup_ended(self, ended: Ended, oom_kills: int) -> None:
        self.setup = {"exit_code": ended.code}
        self.oom_kills += oom_kills
        if oom_kills:
            self.warn("tool_oom", "Processes of `setup` killed for memory: %d." % oom_kills)
        if not (ended.ok or ended.cut):
            details = "It ended with exit code %d." % ended.code
            if oom_kills:
                details += (
                    " The kernel killed %d of its processes for memory: raise `memory_mb:`." % oom_kills
                )
            self.fail("setup_command_failed", "setup", details, code=ended.code)

    def agent_ended(self, run: AgentRun, judged: Judgement, session_id: str, oom_kills: int) -> None:
        said, result = run.said, run.said.result or {}
        self.oom_kills += oom_kills
        self.oom_agent = judged.type == "agent_oom"
        self.agent = {
            "exit_code": run.ended.exit_code,
            "signal": run.ended.signal,
            "session_id": session_id,
            "subtype": word(result.get("subtype")),
            "is_error": result.get("is_error") is not False,
            "terminal_reason": word(result.get("terminal_reason")),
            "num_turns": whole(result.get("num_turns")),
            "cost_usd": number(result.get("total_cost_usd")),
            "result": said.text(),
            "structured_output": said.structured()[0],
            "permission_denials": said.denials(),
            "model": said.model,
            "lingered": bool(run.ended.cut) and said.good_result,
            "result_at": said.result_at,
        }
        for type_, details in judged.warnings:
            self.warn(type_, details)
        if not judged.ok:
            code = {"silence": EXIT_TIMEOUT, "refused": 1}.get(run.ended.cut, run.ended.code)
            self.fail(judged.type, "agent", judged.details, judged.line, code=code, retry_at=judged.retry_at)

    def changeset_taken(self, taken: Changeset) -> None:
        """Work that does not arrive is no success.

        Denied tools are a warning where there is a change; with nothing changed they are why.
        """
        hide = self.secrecy.hide
        self.changeset = replace(
            taken,
            paths=[hide(path) for path in taken.paths],
            left_out=[{**row, "path": self.secrecy.cut(row["path"], PATH_CHARS)} for row in taken.left_out],
        )
        if taken.left_out_count:
            details = "Files that the change cannot carry: %d. The rest is in the patch."
            self.fail("collect_failed", "collect", details % taken.left_out_count)
        blocked = [each for each in self.warnings if each["type"] == "permission_blocked"]
        if blocked and taken.files == 0 and self.error is None:
            self.warnings.remove(blocked[0])
            self.fail("permission_blocked", "agent", blocked[0]["details"] + " No file was changed.")

    def document(self, nonce: str, state: Path) -> dict[str, Any]:
        """The result document, without what `record` adds on freezing it."""
        return {
            "protocol": protocol.PROTOCOL,
            "nonce": nonce,
            "ok": self.error is None,
            "exit_code": self.exit_code,
            "error": self.error,
            "setup": self.setup,
            "agent": self.agent,
            "oom": {"kills": self.oom_kills, "agent": self.oom_agent},
            "base_sha": self.base_sha,
            "changeset": asdict(self.changeset) if self.changeset else None,
            "findings": self.findings,
            "files": {name: measure(state / name) for name in FILES if (state / name).is_file()},
            "warnings": self.warnings,
        }


def measure(path: Path) -> dict[str, Any]:
    """`{size, sha256}` of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
            size += len(part)
    return {"size": size, "sha256": digest.hexdigest()}
