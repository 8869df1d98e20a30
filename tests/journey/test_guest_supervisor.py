"""The guest as a program, a small script in Claude Code's place: its life, last word and refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.guest import NONCE, agent, good, guest, job, pinned, repository

from flaude_guest import protocol


def test_nobody_comes(tmp_path: Path) -> None:
    """A guest that is not provisioned in its window exits 75 and says why; the exit line is its last."""
    with guest(tmp_path, FLAUDE_PROVISION_S="0.3") as g:
        assert g.exit_code() == 75
    assert "[flaude] nobody brought a job within 0 s" in g.lines()[-2]
    assert g.lines()[-1] == "[flaude:exit:75]"


def test_without_a_nonce_it_does_not_start(tmp_path: Path) -> None:
    """A machine not made by us ends at once, with the exit line."""
    with guest(tmp_path, FLAUDE_NONCE="") as g:
        assert g.exit_code() == 70
    assert g.lines()[-1] == "[flaude:exit:70]"


def test_isolation_cannot_be_had_here(tmp_path: Path) -> None:
    """Asked for isolation, a machine without the user `agent` refuses to work at all."""
    with guest(tmp_path, arguments=("--isolated",)) as g:
        assert g.exit_code() == 70
    assert g.lines()[-1] == "[flaude:exit:70]"


@pytest.mark.parametrize(
    ("change", "type_"),
    [
        ({"nonce": "f" * 16}, "protocol_mismatch"),
        ({"protocol": 2}, "protocol_mismatch"),
        ({"prompt": " \n"}, "prompt_missing"),
        (
            {"repositories": [{"url": "https://h/o/n.git", "ref": "--upload-pack=x", "directory": "n"}]},
            "config_invalid",
        ),
    ],
    ids=["nonce", "protocol", "prompt", "ref"],
)
def test_jobs_that_are_refused(tmp_path: Path, change: dict[str, Any], type_: str) -> None:
    """A job not for this machine, or not sound, gets an error document; the right one can still come."""
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        code, document = g.verb("provision", stdin=job(**change))
        assert (code, document["error"]["type"]) == (2, type_)
        assert g.ask("status")["phase"] == "waiting"
        g.ask("provision", stdin=job())
        assert g.result()["ok"] is True


def test_calls_that_make_no_sense(tmp_path: Path) -> None:
    """Unknown verbs, numbers that are none, and files that are not there get error documents."""
    with guest(tmp_path) as g:
        for args in (("explode",), ("status", "--after", "x"), ("collect", "patch", "0", "10"), ("collect",)):
            code, document = g.verb(*args)
            assert code == 2
            assert set(document) == {"protocol", "error"}


def test_setup_that_fails(tmp_path: Path) -> None:
    """A failing setup is the end, with its exit code; its output cannot speak for the guest."""
    setup = "printf 'one\\033[31m\\rtwo [flaude:exit:0]\\n'; (exit 3); echo never"
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(setup=setup))
        result = g.result()
        g.ask("release")
        assert g.exit_code() == 3
    assert result["error"]["type"] == "setup_command_failed"
    assert (result["setup"], result["agent"], result["exit_code"]) == ({"exit_code": 3}, None, 3)
    assert {"one", "two [flaude\\:exit:0]"} <= set(g.lines())
    assert "never" not in g.lines()
    assert protocol.last_exit_marker(g.lines()) == 3


def test_setup_names_the_places_that_broke(tmp_path: Path) -> None:
    """What a failing setup complains about is looked up in the checkout and told in the result."""
    told = "main.c:3:14: \\033[1merror:\\033[0m expected ;\\nmain.c:4: warning: w\\ngone.c:1: error: e"
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(setup=f"seq 3 > main.c; printf '{told}' >&2; exit 1"))
        result = g.result()
    expected = {"file": "main.c", "line": 3, "column": 14, "message": "error: expected ;"}
    assert result["findings"] == [expected]


def test_a_machine_unfit_for_claude(tmp_path: Path) -> None:
    """When Claude Code does not even start the job is not tried."""
    with guest(tmp_path, claude="/nonexistent/claude") as g:
        g.ask("provision", stdin=job())
        result = g.result()
    assert (result["error"]["type"], result["error"]["phase"]) == ("environment_unusable", "checks")
    assert result["exit_code"] == 70
    assert set(result["times"]) == {"waiting", "checks", "collect"}


def test_nobody_releases(tmp_path: Path) -> None:
    """After hold_s the guest exits by itself with the result's code."""
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(limits={"hold_s": 0.2}))
        assert g.exit_code() == 0
    assert g.lines()[-1] == "[flaude:exit:0]"


def test_what_was_not_handed_over_is_kept(tmp_path: Path) -> None:
    """With a file of the result still owed no silence ends the hold; once it was given, some does."""
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(limits={"hold_s": 60, "hold_idle_s": 0.1}))
        assert list(g.result()["files"]) == ["transcript"]
        with pytest.raises(subprocess.TimeoutExpired):
            g.exit_code(1)
        assert g.collect("transcript")
        assert g.exit_code(5) == 0
    assert g.lines()[-1] == "[flaude:exit:0]"


def test_sigterm_ends_the_work(tmp_path: Path) -> None:
    """A signal from outside ends the agent, the result says so, and the exit line still comes last."""
    with guest(tmp_path / "g", claude=agent(tmp_path, "say init; sleep 60")) as g:
        g.ask("provision", stdin=job())
        g.phase("agent")
        g.process.send_signal(signal.SIGTERM)
        result = g.result()
        g.ask("release")
        assert g.exit_code() == 143
    assert result["error"]["type"] == "machine_stopped_externally"
    assert g.lines()[-1] == "[flaude:exit:143]"


def test_sigterm_while_waiting_or_holding(tmp_path: Path) -> None:
    """With nothing to lose the guest goes at once."""
    with guest(tmp_path / "a", claude=good(tmp_path)) as g:
        g.phase("waiting")
        g.process.send_signal(signal.SIGTERM)
        assert g.exit_code(2) == 143
    with guest(tmp_path / "b", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job(limits={"hold_s": 60}))
        g.result()
        g.process.send_signal(signal.SIGTERM)
        assert g.exit_code(2) == 0


def test_the_machine_does_not_outlive_its_deadline(tmp_path: Path) -> None:
    """The work ends early enough before the dead-man timer for a result; then the guest ends, held or not."""
    with guest(tmp_path / "g", claude=agent(tmp_path, "say init; sleep 60"), FLAUDE_DEADLINE_S="3") as g:
        started = time.monotonic()
        g.ask("provision", stdin=job(limits={"hold_s": 600}))
        assert g.result()["error"]["type"] == "run_timeout"
        assert g.exit_code(5) == 124
        assert 2 < time.monotonic() - started < 7
    assert g.lines()[-2:] == ["[flaude] the machine's deadline of 3 s has passed", "[flaude:exit:124]"]


def test_the_deadline_does_not_wait_for_a_stubborn_agent(tmp_path: Path) -> None:
    """An agent that ignores SIGTERM is killed with the guest when the machine's time is up."""
    program = agent(tmp_path, "say init; trap '' TERM; while :; do sleep 0.987; done")
    with guest(tmp_path / "g", claude=program, FLAUDE_DEADLINE_S="2") as g:
        g.ask("provision", stdin=job())
        assert g.exit_code(4) == 124
    assert g.lines()[-1] == "[flaude:exit:124]"
    assert subprocess.run(["pgrep", "-fx", "sleep 0.987"], check=False, capture_output=True).stdout == b""


def test_what_setup_leaves_running_does_not_meet_the_agent(tmp_path: Path) -> None:
    """Between setup and agent every process is ended, also one that left its session and its parent."""
    setup = f"(setsid setsid sleep 9876 &) ; sleep 0.1; pgrep -fx 'sleep 9876' > {tmp_path}/pid"
    program = agent(tmp_path, "say init; pgrep -fx 'sleep 9876' >&2; say result")
    with guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job(setup=setup))
        assert g.result()["ok"] is True
    assert (tmp_path / "pid").read_text().strip().isdigit()
    assert not [line for line in g.lines() if line.startswith("claude: ")]


def test_orphans_are_reaped_while_the_agent_runs(tmp_path: Path) -> None:
    """Processes that lose their parent become the supervisor's and do not stay as zombies."""
    program = agent(tmp_path, "say init; for i in 1 2 3 4 5; do (true & true & ); done; sleep 1; say result")
    with guest(tmp_path / "g", claude=program) as g:
        g.ask("provision", stdin=job())
        g.phase("agent")
        time.sleep(0.7)
        states = subprocess.run(
            ["ps", "-o", "stat=", "--ppid", str(g.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert g.result()["ok"] is True
    assert len(states) == 1
    assert not states[0].startswith("Z")


def test_an_agent_that_tries_to_speak_for_the_guest(tmp_path: Path) -> None:
    """Markers in text, in events and on stderr are broken; only the guest's own last line is one."""
    said = {
        "type": "assistant",
        "message": {"content": [{"type": "text", "text": "[flaude:exit:0]\n::error::x"}]},
    }
    (tmp_path / "said").write_text(json.dumps(said) + "\n[flaude:exit:0]\n[fl\x00aude:event:{}]\n")
    with guest(tmp_path / "g", claude=agent(tmp_path, "say init; say said; say said >&2; exit 5")) as g:
        g.ask("provision", stdin=job())
        result = g.result()
        g.ask("release")
        assert g.exit_code() == 5
    assert result["error"]["type"] == "result_missing"
    markers = [line for line in g.lines() if "[flaude:" in line and not protocol.parse_event_line(line)]
    assert markers == ["[flaude:exit:5]"]


def test_a_log_nobody_reads_does_not_keep_the_machine(tmp_path: Path) -> None:
    """When stdout is blocked the dead-man timer still ends the guest and the agent."""
    program = agent(tmp_path, "say init; yes flaude-987; say result")
    reader, writer = os.pipe()
    try:
        with guest(tmp_path / "g", claude=program, stdout=writer, FLAUDE_DEADLINE_S="1") as g:
            g.ask("provision", stdin=job())
            assert g.exit_code(10) == 124
        assert subprocess.run(["pgrep", "-fx", "yes flaude-987"], check=False).returncode == 1
    finally:
        os.close(reader)
        os.close(writer)


def test_a_line_of_ten_megabytes(tmp_path: Path) -> None:
    """A huge event neither breaks the reading of what follows nor bloats the supervisor."""
    huge = {"type": "user", "message": {"content": [{"type": "tool_result", "content": "x" * 10_000_000}]}}
    (tmp_path / "huge").write_text(json.dumps(huge) + "\n")
    with guest(tmp_path / "g", claude=agent(tmp_path, "say init; say huge; say huge; say result")) as g:
        g.ask("provision", stdin=job())
        result = g.result()
        status = Path(f"/proc/{g.process.pid}/status").read_text("ascii").splitlines()
        memory = dict(line.split(":", 1) for line in status)
    assert result["ok"] is True
    assert result["files"]["transcript"]["size"] > 20_000_000
    assert int(memory["VmHWM"].split()[0]) < 80_000


def test_a_repository_in_a_workspace_of_two(tmp_path: Path) -> None:
    """The first repository is where the agent works, the second lies beside it; a ref is a local branch."""
    first = repository(tmp_path / "one", {"a": "1\n"})
    second = repository(tmp_path / "two", {"b": "2\n"})
    repositories = [
        pinned(tmp_path / "one", first),
        pinned(tmp_path / "two", second, ref="", directory="beside"),
    ]
    script = "say init; git status --short --branch; git remote get-url origin; cat ../beside/b; say result"
    with guest(tmp_path / "g", claude=agent(tmp_path, script)) as g:
        g.ask("provision", stdin=job(repositories=repositories))
        result = g.result()
    assert result["ok"] is True
    assert result["base_sha"] == first
    for line in ("## main...origin/main", f"file://{tmp_path}/one", "2"):
        assert line in g.lines()


def test_the_socket_is_for_the_owner_alone(tmp_path: Path) -> None:
    """Neither the folder nor the socket admits anybody else, and the job's files are private."""
    with guest(tmp_path / "g", claude=good(tmp_path)) as g:
        g.ask("provision", stdin=job())
        g.result()
        assert (tmp_path / "g" / "run").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "g" / "run" / "control.sock").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "g" / "state" / "transcript").stat().st_mode & 0o777 == 0o600
    assert NONCE not in "\n".join(g.lines())
