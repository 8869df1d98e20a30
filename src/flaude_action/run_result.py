"""What one call of the library gives back: plain values, made from the engine's outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaude_action.outcome import number, whole

if TYPE_CHECKING:
    from flaude_action.outcome import Outcome


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `exit_code` is None when nothing told it; `state` is Fly's last word on the machine.

    `destroyed` is True when Fly confirmed that the machine is gone. `result` is Claude Code's final text and
    `patch` a git patch of what it changed: both are untrusted. `failure_type` is empty on success, else an id
    of the failure catalog. `cost_usd` is the model's price as Claude Code tells it.
    """

    machine_id: str
    exit_code: int | None
    state: str
    destroyed: bool
    workspace_files: tuple[str, ...] = ()
    conclusion: str = ""
    failure_type: str = ""
    exit_code_source: str = "none"
    result: str = field(default="", repr=False)
    structured_output: Any = field(default=None, repr=False)
    session_id: str = ""
    num_turns: int | None = None
    cost_usd: float | None = None
    patch: bytes = field(default=b"", repr=False)
    logs: tuple[str, ...] = field(default=(), repr=False)
    log_complete: bool = False
    warnings: tuple[tuple[str, str], ...] = ()
    phase_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        return self.conclusion == "success"

    @classmethod
    def of(cls, outcome: Outcome, logs: tuple[str, ...]) -> RunResult:
        """The outcome as values that outlive the run's temporary folder; `logs` are its newest lines."""
        agent, verdict = outcome.agent, outcome.verdict
        return cls(
            machine_id=outcome.machine_id,
            exit_code=verdict.exit_code,
            state=outcome.state,
            destroyed=not outcome.cleanup.startswith("leaked"),
            workspace_files=tuple(outcome.changed_files()),
            conclusion=verdict.conclusion,
            failure_type=verdict.type,
            exit_code_source=verdict.source,
            result=str(agent.get("result") or ""),
            structured_output=agent.get("structured_output"),
            session_id=str(agent.get("session_id") or ""),
            num_turns=whole(agent.get("num_turns")),
            cost_usd=number(agent.get("cost_usd")),
            patch=outcome.files["patch"].read_bytes() if "patch" in outcome.files else b"",
            logs=logs,
            log_complete=outcome.evidence.log_complete,
            warnings=verdict.warnings,
            phase_seconds=outcome.phase_seconds,
        )
