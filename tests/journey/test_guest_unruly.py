"""The guest as a program, around work that does not want to end or hosts that call at odd moments."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.guest import NONCE, agent, good, guest, job, pinned, repository

from flaude_guest import supervisor
from flaude_guest.output import Output

if TYPE_CHECKING:
    from pathlib import Path


def test_a_setup_that_leaves_a_babbler(tmp_path: Path) -> None:
    """What a command left running and printing is not listened to once the command has ended."""
    with guest(tmp_path / "g", claude=good(tmp_path), FLAUDE_DEADLINE_S="8") as g:
        g.ask("provision", stdin=job(setup="yes babble & sleep 0.2; echo over"))
        result = g.result()
        assert g.ask("release")["released"] is True
        assert g.exit_code() == 0
    assert result["ok"] is True
    assert "over" in g.lines()


def test_an_interrupt_hastens_an_end_that_has_begun(tmp_path: Path) -> None:
    """A host that cancels while the agent still takes its time to end gets its answer all the same."""
    program = agent(tmp_path, "say init; trap '' TERM; while :; do sleep 0.1; done")
    with guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(limits={"timeout_s": 1}))
        g.phase("agent")
        time.sleep(1.2)
        status = g.ask("interrupt")
    assert status["result"]["error"]["type"] == "run_timeout"


def test_a_release_before_there_is_a_result(tmp_path: Path) -> None:
    """There is nothing to release yet: the call is refused, and the result is held for its host."""
    program = agent(tmp_path, "say init; until [ -e go ]; do sleep 0.05; done; say result")
    with guest(tmp_path / "g", claude=program) as g:
        code, document = g.verb("release")
        assert (code, document["error"]["type"]) == (2, "protocol_mismatch")
        g.ask("provision", stdin=job())
        assert g.phase("agent")["times"]["agent"][1] is None
        assert g.verb("release")[0] == 2
        assert g.ask("status")["phase"] == "agent"
        (tmp_path / "g" / "workspace" / "work" / "go").touch()
        assert g.result()["ok"] is True
        time.sleep(0.3)
        assert g.process.poll() is None
        g.ask("release")
        assert g.exit_code() == 0


@pytest.mark.parametrize(
    ("reasons", "held"),
    [([], 3), (["cancelled"], 3), (["terminated"], 1), (["cancelled", "terminated"], 1)],
    ids=str,
)
def test_how_long_a_result_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reasons: list[str], held: int
) -> None:
    """A signal that came during the work shortens the hold and does not end it, whatever was asked before."""
    monkeypatch.setattr(supervisor, "TERMINATED_HOLD_S", 0.3)
    environ = {"FLAUDE_NONCE": NONCE, "FLAUDE_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    guest = supervisor.Supervisor(environ, Output(os.open(os.devnull, os.O_WRONLY)), isolated=False)
    for reason in reasons:
        guest._record.ask_to_stop(reason)
    began = time.monotonic()
    guest._hold(0.9)
    assert round((time.monotonic() - began) / 0.3) == held


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "soon"])
def test_a_deadline_that_never_comes(tmp_path: Path, seconds: str) -> None:
    """Without a time at which it ends the guest does not begin."""
    with guest(tmp_path, FLAUDE_DEADLINE_S=seconds) as g:
        assert g.exit_code() == 70
    assert g.lines()[-1] == "[flaude:exit:70]"


def test_a_setup_that_is_too_long_to_start(tmp_path: Path) -> None:
    """A command that the system does not take is the setup's failure, not a bug of ours."""
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(setup="true #" + "x" * 200_000))
        error = g.result()["error"]
    assert (error["type"], error["phase"]) == ("setup_command_failed", "setup")
    assert error["line"] == "Argument list too long"


def test_a_setup_that_takes_the_folder_away(tmp_path: Path) -> None:
    """Claude Code has nowhere to work, and what is left is not taken for the deletion of every file."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(repositories=[pinned(tmp_path / "up", sha)], setup="rm -rf ../repo"))
        result = g.result()
    assert result["error"]["type"] == "agent_start_failed"
    assert result["changeset"] is None


def test_an_agent_that_takes_the_folder_away(tmp_path: Path) -> None:
    """A run whose work cannot be found is not a success."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    program = agent(tmp_path, "say init; mv ../repo ../moved; say result")
    with guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(repositories=[pinned(tmp_path / "up", sha)]))
        result = g.result()
    assert (result["error"]["type"], result["error"]["phase"]) == ("collect_failed", "collect")
    assert result["files"].keys() == {"transcript"}


def test_a_schema_in_claude_args_is_a_schema(tmp_path: Path) -> None:
    """Who asks for a structured answer in claude_args is told too when there is none."""
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(agent={"claude_args": ["--json-schema", "{}"]}))
        assert g.result()["error"]["type"] == "structured_output_missing"


def test_repositories_inside_are_told(tmp_path: Path) -> None:
    """A repository that the agent made in its folder is not part of the change, and the log says so."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    program = agent(tmp_path, "say init; git init -q inside; touch inside/file; say result")
    with guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(repositories=[pinned(tmp_path / "up", sha)]))
        result = g.result()
    assert result["ok"] is True
    assert result["changeset"]["files"] == 0
    assert "[flaude] not part of the change: 1 folders with a repository of their own" in g.lines()
