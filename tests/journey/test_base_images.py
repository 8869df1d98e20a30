"""The machine image on base images of a user's own: what it keeps, what it takes back, what it refuses."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.builds import forget, push
from tests.support.engines import lay_on, user_base
from tests.support.guest import container, job
from tests.support.step import Ended, bash, script, stage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker

# A toolchain that the default image lacks, in a folder that everybody may write to, and everything that could
# get into our way: our names and ids, another user, entrypoint, shell and /tmp, no git, bad variables.
TOOLCHAIN = """
RUN apt-get purge --yes git ripgrep >/dev/null \
 && useradd --create-home --uid 1000 agent && useradd --uid 41000 node && groupadd verify
COPY greet git flaude-guest /opt/tool/bin/
RUN chmod 1777 /opt/tool/bin && chmod 755 /tmp
ENV PATH=/opt/tool/bin:$PATH GREETING_HOME=/opt/tool LD_PRELOAD=/missing.so LD_LIBRARY_PATH=/missing \
    BASH_ENV=/missing.sh ENV=/missing.sh PYTHONPATH=/missing PYTHONHOME=/missing GIT_DIR=/missing HOME=/srv \
    ANTHROPIC_BASE_URL=http://127.0.0.1:9 CLAUDE_CODE_OAUTH_TOKEN=of-the-base TMPDIR=/missing
SHELL ["/bin/false", "-c"]
USER agent
WORKDIR /srv
HEALTHCHECK CMD false
STOPSIGNAL SIGKILL
ENTRYPOINT ["/bin/false"]
CMD ["nothing"]
"""
GREET = '#!/bin/sh\necho "Hello from $GREETING_HOME as $(id -un)"\n'
NOT_FOR_ROOT = '#!/bin/sh\n[ "$(id -u)" != 0 ] || exit 99\nexec /usr/bin/git "$@"\n'
FILES = {"greet": GREET, "git": NOT_FOR_ROOT, "flaude-guest": "#!/bin/sh\nexit 99\n"}

BARE = """
RUN apt-get purge --yes --auto-remove 'python3*' 'libpython3*' git ripgrep ca-certificates >/dev/null 2>&1 \
 && ! command -v python3 && ! command -v git && ! command -v rg \
 && ! test -e /etc/ssl/certs/ca-certificates.crt
"""
NO_APT = BARE + "RUN rm /usr/bin/apt-get\n"
BUSYBOX = """
RUN apt-get update && apt-get install --yes busybox-static && mkdir -p /root-of/bin /root-of/lib \
 && cp /bin/busybox /root-of/bin/ \
 && for name in sh uname cat ln rm head; do ln -s busybox /root-of/bin/$name; done
"""
TINY = BUSYBOX + "FROM scratch\nCOPY --from=made /root-of /\n"
MUSL = BUSYBOX + "RUN touch /root-of/lib/ld-musl-x86_64.so.1\nFROM scratch\nCOPY --from=made /root-of /\n"
EMPTY = "RUN mkdir /empty /empty/tmp\nFROM scratch\nCOPY --from=made /empty /\n"
# Nothing here can install an old Python, so a new one says it is old, in words and as `sys.version_info`.
OLD_PYTHON = """
COPY python3.8 /usr/bin/python3.8
RUN mkdir /hidden && mv /usr/bin/python3.11 /hidden/python3 && ln -sf python3.8 /usr/bin/python3
"""
PYTHON38 = """#!/bin/sh
if [ "$1" = --version ]; then echo Python 3.8.18; exit; fi
for code; do :; done
exec /hidden/python3 -I -S -c 'import sys; sys.version_info = (3, 8, 18); exec(sys.argv[1])' "$code"
"""
OLD_GIT = """
COPY git /usr/bin/git
RUN rm /usr/bin/apt-get
"""
GIT230 = '#!/bin/sh\nif [ "$1" = --version ]; then echo git version 2.30.2; exit; fi\nexit 1\n'

PYTHON, GIT = "Python 3.9 or newer", "git 2.31 or newer"
ALL = (PYTHON, GIT, "CA certificates", "ripgrep (rg)", "has no apt-get", "add it yourself")


@pytest.fixture(scope="module")
def toolchain_image() -> str:
    """The machine image on the user's toolchain."""
    return lay_on(user_base("toolchain", TOOLCHAIN, FILES), "machine-on-toolchain")


def inspect(image: str) -> dict[str, object]:
    said = subprocess.run(["docker", "inspect", image], capture_output=True, text=True, check=True).stdout
    config: dict[str, object] = json.loads(said)[0]["Config"]
    return config


def inside(image: str, command: str) -> str:
    """What a shell command says in the image."""
    run = ["docker", "run", "--rm", "--entrypoint", "/bin/sh", image, "-c", command]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout


GREETING = script(bash("greet > agent.txt; env | cut -d= -f1"), "Done.")
GREET_TOO = {"setup": "greet > setup.txt; env", "show_full_output": "true"}


def check_greetings(ended: Ended) -> None:
    """Both greeted by name, and nothing of the base's bad variables was seen or heard of."""
    assert ended.exit_code == 0
    patch = (ended.workspace / ended.outputs["patch_file"]).read_text()
    assert json.loads(ended.outputs["changed_files"]) == ["agent.txt", "setup.txt"]
    assert patch.count("+Hello from /opt/tool as flaude-agent\n") == 2
    _, begun, work = ended.log.partition("[flaude] checked out")
    assert begun
    for gone in ("missing", "of-the-base", "LD_PRELOAD", "BASH_ENV", "PYTHON", "cannot be preloaded"):
        assert gone not in work


async def test_setup_and_agent_use_the_bases_toolchain(tmp_path: Path, toolchain_image: str) -> None:
    """A tool on the base's PATH works in `setup` and for Claude Code, with the variable that it needs."""
    async with stage(tmp_path, GREETING, image=toolchain_image) as here:
        ended = await here.step(**GREET_TOO)
        left = await here.machines_left()
    check_greetings(ended)
    assert left == []


@pytest.mark.registry
@pytest.mark.full
async def test_a_step_with_a_base_image(tmp_path: Path, registry: str) -> None:
    """By the input `base_image`: built and pushed by one step, found by the next, named by the third.

    A name that Fly's registry does not have is told before there is a machine.
    """
    push(user_base("toolchain", TOOLCHAIN, FILES), base := f"{registry}/toolchain:1")
    inputs = GREET_TOO | {"image": None, "base_image": base}
    environ = {"FLY_REGISTRY_HOST": registry}
    try:
        async with stage(tmp_path, GREETING, image="none", pull_images="missing") as here:
            built = await here.step(environ=environ, **inputs)
            found = await here.step(environ=environ, **inputs)
            named = GREET_TOO | {"image": found.outputs["image"]}
            given = await here.step(environ=environ, **named)
            made = len(await here.fly.requests("POST", "/machines"))
            absent = await here.step(environ=environ, image=f"{registry}/{here.fly.app}:absent")
            made_then = len(await here.fly.requests("POST", "/machines"))
    finally:
        forget(registry)
    check_greetings(built)
    check_greetings(found)
    assert (built.outputs["image_source"], found.outputs["image_source"]) == ("built", "reused")
    assert built.outputs["image"] == found.outputs["image"] == given.outputs["image"]
    check_greetings(given)
    assert given.outputs["image_source"] == "given"
    assert (absent.exit_code, absent.outputs["error_type"]) == (1, "image_not_found")
    assert made_then == made


def test_root_uses_nothing_the_agent_can_replace(tmp_path: Path, toolchain_image: str) -> None:
    """Verbs and the supervisor's own git come from the system, not from a folder on the base's PATH."""
    put = "touch /opt/tool/bin/mine && command -v git flaude-guest"
    with container(toolchain_image, tmp_path, FLAUDE_CLAUDE="/bin/true") as g:
        g.ask("provision", stdin=job(setup=put))
        result = g.result()
        g.ask("release")
        g.exit_code()
    assert result["setup"] == {"exit_code": 0}
    assert {"/opt/tool/bin/git", "/opt/tool/bin/flaude-guest"} <= set(g.lines())


def test_what_our_layer_resets(toolchain_image: str) -> None:
    """User, folder, entrypoint, command, signal and health check are ours; a shell has no complaint."""
    config = inspect(toolchain_image)
    assert config["User"] == "0:0"
    assert config["WorkingDir"] == "/"
    assert config["Entrypoint"][0] == "/usr/local/lib/flaude/python"  # type: ignore[index]
    assert not config.get("Cmd")
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"] == {"Test": ["NONE"]}
    run = ["docker", "run", "--rm", "--entrypoint", "/bin/bash", toolchain_image, "-c", "id -u"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert inside(toolchain_image, "stat -c %a /tmp") == "1777\n"


def test_users_of_the_base_stay(toolchain_image: str) -> None:
    """Names and ids that the base uses are left to it; ours are others."""
    users = inside(toolchain_image, "id -u agent node; getent passwd | grep ':flaude '")
    taken, ours = users.splitlines()[:2], [line.split(":") for line in users.splitlines()[2:]]
    assert taken == ["1000", "41000"]
    assert [user[0] for user in ours] == ["flaude-agent", "flaude-verify", "diff"]
    assert not {user[2] for user in ours} & {"0", *taken}


def test_the_machine_image_can_be_a_base(machine_image: str, tmp_path: Path) -> None:
    """Laid on itself, the image keeps its users and works."""
    again = lay_on(machine_image, "machine-on-machine")
    assert inside(again, "cat /etc/passwd") == inside(machine_image, "cat /etc/passwd")
    with container(again, tmp_path) as g:
        assert g.ask("status")["phase"] == "waiting"


def test_apt_get_brings_what_is_missing() -> None:
    """A Debian without Python, git, certificates and ripgrep gets them, and no package lists are left."""
    fit = lay_on(user_base("bare", BARE), "fit-bare", target="base")
    look = "python3 --version; git --version; rg --version; wc -c < /etc/ssl/certs/ca-certificates.crt"
    said = inside(fit, f"{look}; ls -A /var/lib/apt/lists /var/cache/apt")
    assert [word in said for word in ("Python 3.", "git version 2.", "ripgrep ")] == [True] * 3
    assert said.endswith("/var/cache/apt:\n\n/var/lib/apt/lists:\n")


@pytest.mark.parametrize(
    ("dockerfile", "files", "words"),
    [
        pytest.param(NO_APT, {}, ALL, id="no apt"),
        pytest.param(TINY, {}, ALL, id="tiny"),
        pytest.param(MUSL, {}, ("built on musl", "glibc", "Debian or Ubuntu"), id="musl"),
        pytest.param(OLD_PYTHON, {"python3.8": PYTHON38}, (PYTHON, "it has Python 3.8.18"), id="old python"),
        pytest.param(OLD_GIT, {"git": GIT230}, (GIT, "it has git version 2.30.2"), id="old git"),
        pytest.param(EMPTY, {}, ('exec: "/bin/sh"', "no such file"), id="empty"),
    ],
)  # fmt: skip
def test_bases_that_are_refused(
    request: pytest.FixtureRequest, dockerfile: str, files: dict[str, str], words: tuple[str, ...]
) -> None:
    """The build ends with words that name what the base lacks, and nothing else is tried."""
    name = request.node.callspec.id.replace(" ", "-")
    with pytest.raises(RuntimeError) as refused:
        lay_on(user_base(name, dockerfile, files), f"machine-on-{name}")
    for word in words:
        assert word in str(refused.value)
