"""The machine image in a container: what root keeps from the agent, and that nothing of it survives."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.guest import agent, bash, container, git, good, job, model, repository, served

pytestmark = pytest.mark.docker

DONE = {"text": "All done."}
TOKEN = "ghs_token_of_the_clone"


def test_a_run_under_isolation(machine_image: str, tmp_path: Path) -> None:
    """The real Claude Code works as `agent`: it can change its checkout and nothing that is root's."""
    sha = repository(tmp_path / "up", {"a.txt": "1\n"})
    bare = tmp_path / "host" / "o" / "n.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "up"), str(bare))
    (bare / "flaude-private-token").write_text(TOKEN)
    probes = (
        "id -un; grep NoNewPrivs /proc/self/status; echo two > a.txt",
        "ls /run/flaude; ls /var/lib/flaude; cat /var/lib/flaude/transcript",
        "touch /var/lib/flaude/repositories/0.git/x; git -C /var/lib/flaude/repositories/0.git gc",
        "kill -9 1; cat /proc/1/environ; echo '[flaude:exit:0]' > /proc/1/fd/1; flaude-guest status",
        "(setsid setsid sleep 987 &) ; sleep 0.1; pgrep -cfx 'sleep 987'; git log --oneline | wc -l",
    )
    with (
        served("localfly.githost", "--root", str(tmp_path / "host")) as host,
        model(tmp_path, *(bash(probe) for probe in probes), DONE) as url,
        container(machine_image, tmp_path, "--env=SECRET=machine-secret") as g,
    ):
        one = {"url": f"{host}/o/n.git", "ref": "main", "sha": sha, "directory": "n", "token": TOKEN}
        document = job(
            anthropic_base_url=url, repositories=[one], setup="id -un; sleep 988 & env", show_full_output=True
        )
        g.ask("provision", stdin=document)
        result = g.result()
        left = subprocess.run(
            [*g.command[:-1], "pgrep", "-u", "agent"], capture_output=True, check=False
        ).stdout
        patch = g.collect("patch")
        assert g.ask("release")["released"] is True
        assert g.exit_code() == 0
    lines = g.lines()
    assert result["ok"] is True, result
    assert left == b""
    assert b"+two" in patch
    assert result["changeset"]["files"] == 1
    assert lines.count("agent") == 1
    for line in ("  | agent", "  | NoNewPrivs:\t1"):
        assert line in lines
    refusals = [line for line in lines if "ermission denied" in line or "not permitted" in line]
    assert len(refusals) >= 7, refusals
    assert not [line for line in lines if "machine-secret" in line or TOKEN in line]
    assert [line for line in lines if line.startswith("[flaude:exit")] == ["[flaude:exit:0]"]


def test_a_verb_is_roots_alone(machine_image: str, tmp_path: Path) -> None:
    """The agent's uid cannot reach the supervisor with the same program."""
    with container(machine_image, tmp_path) as g:
        g.ask("status")
        as_agent = [*g.command[:2], "--user=agent", *g.command[3:], "release"]
        done = subprocess.run(as_agent, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "does not answer" in done.stdout
        assert g.ask("status")["phase"] == "waiting"


def test_a_fork_bomb_is_ended(machine_image: str, tmp_path: Path) -> None:
    """Processes that multiply until none can be started are all ended, and the work is still collected."""
    sha = repository(tmp_path / "up", {"a.txt": "1\n"})
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "up"), str(tmp_path / "host" / "o" / "n.git"))
    bomb = "echo two > a.txt; f() { f | f & }; f; sleep 30"
    with (
        served("localfly.githost", "--root", str(tmp_path / "host")) as host,
        container(machine_image, tmp_path, "--pids-limit=300") as g,
    ):
        one = {"url": f"{host}/o/n.git", "ref": "main", "sha": sha, "directory": "n", "token": None}
        g.ask("provision", stdin=job(repositories=[one], setup=bomb, limits={"timeout_s": 4}))
        result = g.result()
        g.ask("release")
        assert g.exit_code() == 124
    assert [line for line in g.lines() if "Resource temporarily unavailable" in line]
    assert result["error"]["type"] == "run_timeout"
    assert result["changeset"]["files"] == 1


def test_the_deadline_needs_no_thread_to_start(machine_image: str, tmp_path: Path) -> None:
    """A work that has used up all processes and does not heed SIGTERM does not outlive the machine's time."""
    bomb = "trap '' TERM; while :; do sleep 60 & done"
    with container(machine_image, tmp_path, "--pids-limit=60", FLAUDE_DEADLINE_S="4") as g:
        g.ask("provision", stdin=job(setup=bomb))
        assert g.exit_code() == 124
    assert "[flaude] the machine's deadline of 4 s has passed" in g.lines()
    assert g.lines()[-1] == "[flaude:exit:124]"


def test_who_stops_what_would_kill_it(machine_image: str, tmp_path: Path) -> None:
    """A process that stops every new one of its uid is ended all the same, and the run goes on."""
    stopper = (
        "import os, signal\nwhile True:\n  for pid in range(os.getpid() + 1, os.getpid() + 300):\n"
        "    try: os.kill(pid, signal.SIGSTOP)\n    except OSError: pass"
    )
    # The setup is older than its stopper, and starts nothing itself that could be stopped.
    setup = f"exec 3< <(setsid python3 -c '{stopper}' & echo); read -r -u 3; read -r -t 0.5 -u 3 || true"
    with container(machine_image, tmp_path, FLAUDE_CLAUDE="/bin/true") as g:
        g.ask("provision", stdin=job(setup=setup))
        result = g.result(20)
    assert result["setup"] == {"exit_code": 0}
    assert result["error"]["type"] == "agent_start_failed"


@pytest.mark.parametrize("disk", ["size=8m", "size=400m,nr_inodes=2", "size=400m,nr_inodes=8"])
def test_a_repository_that_does_not_fit_the_disk(machine_image: str, tmp_path: Path, disk: str) -> None:
    """That nothing can be fetched for want of space is told as that, and not as the network's fault."""
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "large").write_bytes(os.urandom(12 << 20))
    git(tmp_path / "up", "init", "--quiet")
    git(tmp_path / "up", "add", "--all")
    git(tmp_path / "up", "commit", "--quiet", "--message=large")
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "up"), str(tmp_path / "host" / "o" / "n.git"))
    with (
        served("localfly.githost", "--root", str(tmp_path / "host")) as host,
        container(machine_image, tmp_path, f"--tmpfs=/var/lib/flaude:{disk}") as g,
    ):
        one = {"url": f"{host}/o/n.git", "ref": "", "sha": git(tmp_path / "up", "rev-parse", "HEAD"),
               "directory": "n", "token": None}  # fmt: skip
        g.ask("provision", stdin=job(repositories=[one]))
        error = g.result()["error"]
    assert (error["type"], error["phase"]) == ("disk_full", "fetch"), error


def test_a_patch_that_does_not_fit_the_disk(machine_image: str, tmp_path: Path) -> None:
    """Work that cannot be written down for want of space is a full disk, and never a success."""
    sha = repository(tmp_path / "up", {"a.txt": "1\n"})
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "up"), str(tmp_path / "host" / "o" / "n.git"))
    tmp_path.chmod(0o755)
    claude = agent(tmp_path, "say init; head -c 12000000 /dev/urandom > large; say result")
    text = Path(claude).read_text().replace(str(tmp_path), "/agent")
    Path(claude).write_text(text)
    options = ("--tmpfs=/var/lib/flaude:size=8m", f"--volume={tmp_path}:/agent:ro")
    with (
        served("localfly.githost", "--root", str(tmp_path / "host")) as host,
        container(machine_image, tmp_path, *options, FLAUDE_CLAUDE="/agent/agent") as g,
    ):
        one = {"url": f"{host}/o/n.git", "ref": "main", "sha": sha, "directory": "n", "token": None}
        g.ask("provision", stdin=job(repositories=[one]))
        result = g.result()
    assert (result["error"]["type"], result["error"]["phase"]) == ("disk_full", "collect"), result
    assert result["files"].keys() == {"transcript"}


@pytest.mark.parametrize(
    ("whole", "type_", "warned"),
    [(True, "agent_oom", []), (False, None, ["tool_oom"])],
    ids=["agent", "tool"],
)
def test_running_out_of_memory(
    machine_image: str, tmp_path: Path, whole: bool, type_: str | None, warned: list[str]
) -> None:
    """Claude Code killed for memory is agent_oom; a tool killed for memory is a warning."""
    eat = "python3 -c 'x = bytearray(10**9)'"
    script = f"exec {eat}" if whole else f"{eat}; cat /agent/result"
    (tmp_path / "init").write_text('{"type":"system","subtype":"init"}\n')
    (tmp_path / "result").write_text(
        '{"type":"result","subtype":"success","is_error":false,"terminal_reason":"completed","num_turns":1}\n'
    )
    (tmp_path / "claude").write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\ncat /agent/init\n{script}\n')
    (tmp_path / "claude").chmod(0o755)
    tmp_path.chmod(0o755)
    options = ("--memory=200m", "--memory-swap=200m", f"--volume={tmp_path}:/agent:ro")
    with container(machine_image, tmp_path, *options, FLAUDE_CLAUDE="/agent/claude") as g:
        g.ask("provision", stdin=job())
        result = g.result()
        g.ask("release")
        g.exit_code()
    assert (result["error"] or {}).get("type") == type_, result
    assert [warning["type"] for warning in result["warnings"]] == warned
    assert result["oom"] == {"kills": 1, "agent": whole}


def test_the_work_has_a_control_group_of_its_own(machine_image: str, tmp_path: Path) -> None:
    """Where root may make one, all of the work is in it, killed first, and leaves memory for the rest."""
    look = "cat /proc/self/oom_score_adj; grep -e :memory: -e :pids: /proc/self/cgroup; "
    eat = "python3 -c 'x = bytearray(10**9)' || echo was killed; "
    tmp_path.chmod(0o755)
    claude = agent(tmp_path, f"say init; (setsid sh -c '{look}'); say result")
    Path(claude).write_text(Path(claude).read_text().replace(str(tmp_path), "/agent"))
    options = ("--memory=400m", "--memory-swap=400m", f"--volume={tmp_path}:/agent:ro")
    groups = "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"
    with container(machine_image, tmp_path, *options, groups, FLAUDE_CLAUDE="/agent/agent") as g:
        g.ask("provision", stdin=job(setup=look + eat))
        result = g.result()
        show = "cat /proc/1/oom_score_adj; cat /sys/fs/cgroup/memory$(sed -n s/.*:memory://p /proc/1/cgroup)/"
        most = subprocess.run(
            [*g.command[:-1], "sh", "-c", show + "flaude-work/memory.limit_in_bytes /proc/1/cgroup"],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
    lines = g.lines()
    assert result["ok"] is True, result
    assert result["oom"]["kills"] == 1
    assert "was killed" in lines
    assert int(most[1]) == 336 << 20
    assert int(most[0]) < 1000
    assert not [line for line in most if "flaude-work" in line]
    assert lines.count("1000") == 2
    assert len([line for line in lines if line.endswith("/flaude-work")]) == 4


def test_what_holds_memory_without_a_process_is_removed(machine_image: str, tmp_path: Path) -> None:
    """Shared memory and files in memory of the agent's are gone when its work is gathered; no other's are."""
    get = "c.shmget(0, 4096, 0o1600); c.msgget(0, 0o1600); c.semget(0, 1, 0o1600)"
    made = f"import ctypes; c = ctypes.CDLL(None); {get}"
    fill = "mkdir -p /dev/shm/a/b; echo 1 > /dev/shm/a/b/c; ln -s /etc /dev/shm/link; echo 1 > kept"
    setup = f"python3 -c '{made}'; {fill}"
    with container(machine_image, tmp_path, "--ipc=private", FLAUDE_CLAUDE="/bin/true") as g:
        root = ("python3", "-c", made.replace("import ctypes", "import ctypes; open('/dev/shm/roots', 'w')"))
        subprocess.run([*g.command[:-1], *root], check=True)
        g.ask("provision", stdin=job(setup=setup))
        assert g.result()["setup"] == {"exit_code": 0}
        look = "cd /proc/sysvipc; ls -A /dev/shm; cat shm msg sem | wc -l; cat /workspace/work/kept"
        left = subprocess.run(
            [*g.command[:-1], "sh", "-c", look], capture_output=True, text=True, check=True
        ).stdout
    assert left.split() == ["roots", "6", "1"]


LOCALE = "LC_CTYPE\nupper <U0041>\nEND LC_CTYPE\n"
CHARACTERS = (
    "<code_set_name> ISO-8859-1\nCHARMAP\n"
    + "".join(f"<U{number:04X}> /x{number:02x}\n" for number in range(256))
    + "END CHARMAP\n"
)
COMPILE = (
    "localedef -c -f /made/characters -i /made/locale /made/latin 2> /dev/null; test -e /made/latin/LC_CTYPE"
)


@pytest.mark.parametrize("locale", ["latin", "POSIX", "of-no-kind"])
def test_a_base_with_a_locale_of_its_own(machine_image: str, tmp_path: Path, locale: str) -> None:
    """Whatever characters the base's locale has, commands and variables arrive in UTF-8."""
    (tmp_path / "locale").write_text("comment_char %\nescape_char /\n" + LOCALE)
    (tmp_path / "characters").write_text("<comment_char> %\n<escape_char> /\n" + CHARACTERS)
    made = f"--volume={tmp_path}:/made"
    run = ["docker", "run", "--rm", made, "--entrypoint=/bin/sh", machine_image, "-c", COMPILE]
    subprocess.run(run, check=True)
    work = job(setup="printf 'grüße → %s\\n' \"$NAME\"; exit 7", env={"NAME": "ü→"})
    with container(machine_image, tmp_path, made, LOCPATH="/made", LC_CTYPE=locale) as g:
        g.ask("provision", stdin=work)
        assert g.result()["setup"] == {"exit_code": 7}
        lines = g.lines()
    assert "grüße → ü→" in lines


@pytest.mark.parametrize("survives", [False, True])
def test_setup_runs_out_of_memory(machine_image: str, tmp_path: Path, survives: bool) -> None:
    """A setup that the kernel killed for memory is told as that; one that went on is a warning."""
    Path(good(tmp_path)).write_text(Path(good(tmp_path)).read_text().replace(str(tmp_path), "/agent"))
    tmp_path.chmod(0o755)
    eat = "python3 -c 'x = bytearray(10**9)'" + (" || true" if survives else "")
    options = ("--memory=200m", "--memory-swap=200m", f"--volume={tmp_path}:/agent:ro")
    with container(machine_image, tmp_path, *options, FLAUDE_CLAUDE="/agent/agent") as g:
        g.ask("provision", stdin=job(setup=eat))
        result = g.result()
    error = result["error"] or {"type": None, "details": ""}
    assert error["type"] == (None if survives else "setup_command_failed"), result
    assert ("1 of its processes for memory: raise `memory_mb:`" in error["details"]) is not survives
    assert result["warnings"] == [
        {"type": "tool_oom", "details": "Processes of `setup` killed for memory: 1."}
    ]
    assert result["oom"] == {"kills": 1, "agent": False}


def test_docker_stop_gets_the_last_word(machine_image: str, tmp_path: Path) -> None:
    """The platform's SIGTERM reaches the guest, which ends with its exit line."""
    with container(machine_image, tmp_path) as g:
        g.ask("status")
        subprocess.run(["docker", "stop", "--time=10", g.command[3]], capture_output=True, check=True)
        assert g.exit_code() == 143
    assert g.lines()[-1] == "[flaude:exit:143]"


def test_the_image_says_what_it_is(machine_image: str) -> None:
    """Label, entrypoint and users are as the host and the supervisor expect them."""
    asked = [
        "docker",
        "inspect",
        "--format",
        '{{index .Config.Labels "flaude.guest.protocol"}}',
        machine_image,
    ]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == "1"
    run = ["docker", "run", "--rm", "--entrypoint=/bin/sh", machine_image, "-c"]
    told = subprocess.run(
        [*run, "for name in agent verify diff; do id -u $name; done; claude --version"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(set(told[:3])) == 3
    assert told[3].startswith("2.")


@pytest.mark.parametrize(
    ("options", "details"),
    [
        (["--tmpfs=/tmp:ro"], "The agent cannot write to /tmp."),
        (["--tmpfs=/home/agent:ro"], "The agent cannot write to HOME."),
        (["--tmpfs=/workspace:size=100m"], "Only 100 MiB of disk space are free."),
        (["--env=FLAUDE_CLAUDE=/bin/false"], "`claude --version` ended with 1."),
    ],
    ids=["tmp", "home", "disk", "claude"],
)
def test_a_machine_that_is_not_fit(
    machine_image: str, tmp_path: Path, options: list[str], details: str
) -> None:
    """What Claude Code would fail over late or silently is found before anything is fetched."""
    with container(machine_image, tmp_path, *options) as g:
        g.ask("provision", stdin=job(repositories=[{"url": "https://nowhere.invalid/o/n", "directory": "n"}]))
        result = g.result()
        g.ask("release")
        assert g.exit_code() == 70
    error = result["error"]
    assert (error["type"], error["phase"], error["details"]) == ("environment_unusable", "checks", details)


def test_work_that_is_closed_to_everybody(machine_image: str, tmp_path: Path) -> None:
    """What the agent took its own rights from is in the patch, though the agent could not read it."""
    sha = repository(tmp_path / "up", {"a.txt": "1\n"})
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "up"), str(tmp_path / "host" / "o" / "n.git"))
    tmp_path.chmod(0o755)
    close = "mkdir dark; echo two > dark/new; echo two > a.txt; chmod 000 a.txt dark . .."
    program = Path(agent(tmp_path, f"say init; {close}; say result"))
    program.write_text(program.read_text().replace(str(tmp_path), "/agent"))
    with (
        served("localfly.githost", "--root", str(tmp_path / "host")) as host,
        container(
            machine_image, tmp_path, f"--volume={tmp_path}:/agent:ro", FLAUDE_CLAUDE="/agent/agent"
        ) as g,
    ):
        one = {"url": f"{host}/o/n.git", "ref": "main", "sha": sha, "directory": "n", "token": None}
        g.ask("provision", stdin=job(repositories=[one]))
        result = g.result()
        patch = g.collect("patch")
    assert result["ok"] is True, result
    assert (result["changeset"]["files"], patch.count(b"+two")) == (2, 2)


def test_links_in_place_of_the_work(machine_image: str, tmp_path: Path) -> None:
    """A checkout replaced by a link to what only root may read gives the agent nothing of it."""
    sha = repository(tmp_path / "up", {"a.txt": "1\n"})
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "up"), str(tmp_path / "host" / "o" / "n.git"))
    tmp_path.chmod(0o755)
    script = "say init; cd /; mv /workspace/n /workspace/m; ln -s /root /workspace/n; say result"
    program = Path(agent(tmp_path, script))
    program.write_text(program.read_text().replace(str(tmp_path), "/agent"))
    options = ("--tmpfs=/root:mode=0700", f"--volume={tmp_path}:/agent:ro")
    with (
        served("localfly.githost", "--root", str(tmp_path / "host")) as host,
        container(machine_image, tmp_path, *options, FLAUDE_CLAUDE="/agent/agent") as g,
    ):
        root = [*g.command[:-1], "/bin/sh", "-c", "echo secret > /root/a.txt"]
        subprocess.run(root, stdin=subprocess.DEVNULL, check=True)
        one = {"url": f"{host}/o/n.git", "ref": "main", "sha": sha, "directory": "n", "token": None}
        g.ask("provision", stdin=job(repositories=[one]))
        result = g.result()
    assert result["error"]["type"] == "collect_failed", result
    assert result["files"].keys() == {"transcript"}
