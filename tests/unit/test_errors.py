"""The tree of errors: what is raised in one process can be read in another."""

from __future__ import annotations

import copy
import pickle

import pytest

from flaude_action.errors import (
    AgentError,
    ConfigError,
    FlaudeError,
    FlyAPIError,
    GuestError,
    ImageBuildError,
    InternalError,
    MachineExitError,
    MachineTimeout,
    RunCancelled,
)

ERRORS: list[FlaudeError] = [
    ConfigError.of([ConfigError("prompt_missing"), ConfigError("secret_missing", hint="Set it.")]),
    FlyAPIError(503, "busy", "01JN-fra", "GET", "/v1/apps/x", retry_after=2.0),
    ImageBuildError(3, "no such file"),
    GuestError("guest_lost", dev="x"),
    MachineExitError("id1", 3, "stopped", ["one", "two"], type="machine_exit_nonzero"),
    AgentError("id1", 1, "destroyed", ["one"], type="max_turns_reached", details="3 turns"),
    MachineTimeout("run_timeout", details="It had 5 s."),
    RunCancelled("cancelled"),
    InternalError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_a_copy(error: FlaudeError) -> None:
    """A worker process hands its exception to its parent: type, text, reference and attributes stay."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.as_json(debug=True) == error.as_json(debug=True)
        mine, theirs = vars(error), vars(again)
        assert {name: theirs[name] for name in mine if name != "problems"} == {
            name: value for name, value in mine.items() if name != "problems"
        }
