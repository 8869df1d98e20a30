"""Ends that Claude Code makes: every kind of recorded run, and what no recording shows."""

from __future__ import annotations

from typing import Any

from tests.support.claude_runs import EXPECTED, INDEX, TYPE_OF, WARNED
from tests.support.corpus import RESULT, Case

SCHEMA = '{"type": "object"}'
PLAIN = ("textonly", "429once", "toolfail", "perm_none", "mcp_fail", "ov_2compact", "tooltimeout")
"""Besides the first, the good runs that look different."""
IDLE = {"setup": "mkdir played.txt"}
"""What is played can change no file then: a folder has its name."""
SILENT = {"idle_timeout": "1s"}


def recorded(case: str) -> Case:
    """A recorded run comes to its type, told by the guest's document."""
    type_ = TYPE_OF[case]
    inputs = {"json_schema": SCHEMA} if case.startswith("schema") else {}
    if type_ == "run_timeout":
        inputs |= {"timeout": "2s"}
    return Case(
        f"recorded {case}",
        type_,
        RESULT,
        warned=(WARNED[case],) if case in WARNED else (),
        plays=case,
        inputs=inputs,
        slow=WARNED.get(case) == "agent_linger",
    )


FIRST = [cases.split()[0] for cases in EXPECTED.values()]
RECORDED = [*FIRST, *PLAIN, "bg"]
OTHERS = [recorded(case) for case in INDEX if case not in RECORDED]
"""The recorded runs of which one of the same kind is in CASES."""


def ends(name: str, type_: str, **made: Any) -> Case:
    return Case(name, type_, RESULT, **made)


CASES = [
    *map(recorded, RECORDED),
    ends("claude exits with 3 after a good result", "agent_error", then="3"),
    ends("claude is killed after a good result", "killed_by_signal", then="-9", code="137"),
    ends("claude prints nothing and exits 0", "agent_start_failed", plays="nothing", then="0"),
    ends("claude begins and exits 0", "result_missing", plays="hangstream", then="0"),
    ends("claude is silent with a tool open", "agent_silent_timeout", plays="sigkill_tool", then="stay",
         inputs=SILENT),
    ends("claude is silent without a tool", "model_stream_stalled", plays="hangstream", inputs=SILENT),
    ends("the deadline passes in the middle of a tool", "run_timeout", plays="sigkill_tool", then="stay",
            inputs={"timeout": "2s"}, code="124"),
    ends("the deadline passes after a good result", "", then="stay",
         inputs={"timeout": "2s"}, warned=("agent_linger",)),
    ends("tools are denied and nothing is changed", "permission_blocked", plays="perm_none", code="1",
         inputs=IDLE, says="No file was changed."),
    ends("claude does not start", "environment_unusable", code="70",
            guest={"env": {"FLAUDE_CLAUDE": "/bin/false"}}),
    ends("claude is not there", "environment_unusable", code="70",
            guest={"env": {"FLAUDE_CLAUDE": "/nowhere/claude"}}),
]  # fmt: skip
