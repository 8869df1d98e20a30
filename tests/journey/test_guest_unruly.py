"""The guest as a program, around work that does not want to end or hosts that call at odd moments."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.guest import NONCE, agent, good, guest, job, pinned, repository

from flaude_guest import supervisor
from flaude_guest.job import Limits
from flaude_guest.output import Output

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(timeout_s=60, idle_timeout_s=60, hold_s=1.5, hold_idle_s=60, grace_s=1)


def test_a_setup_that_leaves_a_babbler(tmp_path: Path) -> None:
    """What a command left running and printing is not listened to once the command has ended."""
    with guest(tmp_path / "g", claude=good(tmp_path), FLAUDE_DEADLINE_S="20") as g:
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
    ("reasons", "whole"),
    [([], True), (["cancelled"], True), (["terminated"], False), (["cancelled", "terminated"], False)],
    ids=str,
)
def test_how_long_a_result_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reasons: list[str], whole: bool
) -> None:
    """A signal that came during the work shortens the hold and does not end it, whatever was asked before."""
    monkeypatch.setattr(supervisor, "TERMINATED_HOLD_S", 0.2)
    environ = {"FLAUDE_NONCE": NONCE, "FLAUDE_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    guest = supervisor.Supervisor(environ, Output(os.open(os.devnull, os.O_WRONLY)), isolated=False)
    for reason in reasons:
        guest._record.ask_to_stop(reason)
    began = time.monotonic()
    guest._hold(LIMITS)
    held_s = time.monotonic() - began
    assert held_s >= 0.2
    assert (held_s >= LIMITS.hold_s) is whole


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
    """A repository that the agent made is work that does not arrive; one of `setup`'s is none, and told."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    program = agent(tmp_path, "say init; git init -q inside; touch inside/file; say result")
    with guest(tmp_path / "g", claude=program) as g:
        put = "git init -q tools; touch tools/file"
        g.ask("provision", stdin=job(setup=put, repositories=[pinned(tmp_path / "up", sha)]))
        result = g.result()
    assert (result["error"]["type"], result["changeset"]["files"]) == ("collect_failed", 0)
    assert [(row["path"], row["why"]) for row in result["changeset"]["left_out"]] == [
        ("inside/", "repository")
    ]
    told = "[flaude] not part of the change: folders that had a repository of their own before, 1"
    assert told in g.lines()


def test_files_that_became_pipes_are_told(tmp_path: Path) -> None:
    """A file that the agent replaced by a pipe is work that does not arrive either."""
    sha = repository(tmp_path / "up", {"a": "1\n", "b": "1\n"})
    program = agent(tmp_path, "say init; rm a; mkfifo a; echo 2 > b; say result")
    with guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(repositories=[pinned(tmp_path / "up", sha)]))
        result = g.result()
    assert (result["error"]["type"], result["changeset"]["paths"]) == ("collect_failed", ["b"])
    assert result["changeset"]["left_out"] == [{"path": "a", "why": "no_file", "size": 0}]


def slow_git(folder: Path) -> dict[str, str]:
    """A PATH with a git that takes its time over the changeset, whose every call begins so."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "git"
    program.write_text(f'#!/bin/sh\n[ "$1" = diff-files ] && sleep 30\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{folder}/bin:{os.environ['PATH']}"}


@pytest.mark.parametrize("how", ["interrupt", "SIGTERM"])
def test_a_stop_while_the_work_is_collected(tmp_path: Path, how: str) -> None:
    """Who waits for the result gets it in time, without the changeset; nothing is left running."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    with guest(tmp_path / "g", claude=good(tmp_path), **slow_git(tmp_path)) as g:
        g.ask("provision", stdin=job(repositories=[pinned(tmp_path / "up", sha)]))
        g.phase("collect")
        began = time.monotonic()
        if how == "interrupt":
            g.ask("interrupt")
        else:
            g.process.send_signal(signal.SIGTERM)
        result = g.result(10)
        assert time.monotonic() - began < 10
        assert (result["error"]["type"], result["error"]["phase"]) == ("collect_failed", "collect")
        assert result["agent"]["is_error"] is False
        g.ask("release")
        assert g.exit_code() == 1


def test_an_interrupt_while_setup_runs(tmp_path: Path) -> None:
    """Setup is ended at once with what it started, Claude Code is not, and the work of setup comes back."""
    sha = repository(tmp_path / "up", {"a": "1\n"})
    setup = "echo two > a; trap '' TERM; (setsid sleep 9753 &); while :; do sleep 0.1; done"
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(repositories=[pinned(tmp_path / "up", sha)], setup=setup))
        g.phase("setup")
        time.sleep(0.5)
        result = g.ask("interrupt")["result"]
        assert b"+two" in g.collect("patch")
        assert subprocess.run(["pgrep", "-fx", "sleep 9753"], check=False).returncode == 1
        g.ask("release")
        assert g.exit_code() == 130
    assert (result["error"]["type"], result["error"]["phase"]) == ("cancelled", "setup")
    assert result["agent"] is None


def test_an_interrupt_before_there_is_a_job(tmp_path: Path) -> None:
    """There is nothing to wait for, so the guest goes."""
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.phase("waiting")
        g.verb("interrupt")
        assert g.exit_code(3) == 130
    assert g.lines()[-2:] == ["[flaude] cancelled before a job came", "[flaude:exit:130]"]


def test_a_job_that_is_brought_twice(tmp_path: Path) -> None:
    """The second time it is the same job; another job with the same nonce does not take its place."""
    program = agent(tmp_path, "say init; echo x >> runs; until [ -e go ]; do sleep 0.05; done; say result")
    with guest(tmp_path / "g", claude=program) as g:
        assert g.ask("provision", stdin=job(setup="echo first > who"))["repeated"] is False
        assert g.ask("provision", stdin=job(setup="echo second > who"))["repeated"] is True
        g.phase("agent")
        assert g.ask("provision", stdin=job())["repeated"] is True
        folder = tmp_path / "g" / "workspace" / "work"
        (folder / "go").touch()
        assert g.result()["ok"] is True
        assert g.ask("provision", stdin=job())["repeated"] is True
    assert ((folder / "who").read_text(), (folder / "runs").read_text()) == ("first\n", "x\n")


def test_the_deadline_ends_a_hold(tmp_path: Path) -> None:
    """A good result that nobody fetches does not keep the machine, and stays a good one."""
    with guest(tmp_path / "g", claude=good(tmp_path), FLAUDE_DEADLINE_S="3") as g:
        g.ask("provision", stdin=job(limits={"hold_s": 600}))
        assert g.result()["ok"] is True
        assert g.exit_code(6) == 0
    assert g.lines()[-2:] == ["[flaude] the machine's deadline of 3 s has passed", "[flaude:exit:0]"]


def test_a_log_that_stalls_is_not_the_agents_silence(tmp_path: Path) -> None:
    """While nobody reads the log nothing is read of the agent either, so its silence cannot be judged."""
    program = agent(tmp_path, "say init; head -c 300000 /dev/zero | tr '\\0' x; echo; sleep 4; say result")
    reader, writer = os.pipe()
    with guest(tmp_path / "g", claude=program, stdout=writer) as g:
        os.close(writer)
        g.ask("provision", stdin=job(limits={"idle_timeout_s": 2}))
        g.phase("agent")
        time.sleep(3)
        drain = threading.Thread(target=lambda: all(iter(lambda: os.read(reader, 65536), b"")), daemon=True)
        drain.start()
        result = g.result()
        g.ask("release")
        g.exit_code()
        drain.join(5)
    os.close(reader)
    assert result["ok"] is True, result["error"]
