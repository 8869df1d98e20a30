"""What the machine image's build does to a base image, as far as no engine is needed."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.engines import ROOT

from flaude_action import OWNER, __version__
from flaude_action.machine_dockerfile import DOCKERFILE
from flaude_guest.image import add_users
from flaude_guest.image.record_env import kept
from flaude_guest.places import SYSTEM_PATH
from flaude_guest.protocol import IMAGE_LABEL, PROTOCOL

if TYPE_CHECKING:
    from pathlib import Path

PASSWD = "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/sh\n"


DANGEROUS = (
    "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES", "BASH_ENV", "BASH_FUNC_git%%", "ENV",
    "IFS", "PYTHONPATH", "PYTHONHOME", "GIT_DIR", "GIT_SSH_COMMAND", "BUN_OPTIONS", "ANTHROPIC_BASE_URL",
    "CLAUDECODE", "CLAUDE_CODE_OAUTH_TOKEN", "FLAUDE_NONCE", "HOME", "USER", "TMPDIR", "HOSTNAME", "PWD", "_",
    "http_proxy", "HTTPS_PROXY", "no_proxy",
)  # fmt: skip


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root folder of a base image; owners are not changed, as only root could."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text("root:x:0:\nnode:x:1000:\n")
    monkeypatch.setattr(os, "chown", lambda *_: None)
    return tmp_path


def users(base: Path) -> dict[str, list[str]]:
    """Entries of our users by comment."""
    entries = [line.split(":") for line in (base / "etc" / "passwd").read_text().splitlines()]
    return {entry[4]: entry for entry in entries if entry[4].startswith("flaude")}


def test_users_are_added(base: Path) -> None:
    """One for each role, with a home that nobody else can look into; nobody of the base is changed."""
    add_users.add_users(base)
    assert (base / "etc" / "passwd").read_text().startswith(PASSWD)
    ours = users(base)
    assert [ours[f"flaude {role}"][0] for role in add_users.ROLES] == ["agent", "verify", "diff"]
    for name, _, uid, gid, _, home, shell in ours.values():
        assert (uid, home, shell) == (gid, f"/home/{name}", "/bin/sh")
        assert (base / home[1:]).stat().st_mode & 0o777 == 0o700
        assert f"{name}:x:{gid}:\n" in (base / "etc" / "group").read_text()
    assert len({entry[2] for entry in ours.values()}) == 3


def test_users_take_what_is_free(base: Path) -> None:
    """Names and ids that the base uses, for users, groups or homes, stay the base's."""
    first = add_users.FIRST_ID
    with (base / "etc" / "passwd").open("a") as passwd:
        passwd.write(f"agent:x:{first}:100::/srv:/bin/sh")  # and no newline at its end
    with (base / "etc" / "group").open("a") as group:
        group.write(f"flaude-agent:x:{first + 1}:\n+::\n")
    (base / "home" / "verify").mkdir(parents=True)
    add_users.add_users(base)
    ours = [entry[:4] for entry in users(base).values()]
    assert ours == [
        ["flaude-agent-2", "x", str(first + 2), str(first + 2)],
        ["flaude-verify", "x", str(first + 3), str(first + 3)],
        ["diff", "x", str(first + 4), str(first + 4)],
    ]


def test_users_are_added_once(base: Path) -> None:
    """A base that was made from our own image keeps the users it has."""
    add_users.add_users(base)
    before = (base / "etc" / "passwd").read_text()
    add_users.add_users(base)
    assert (base / "etc" / "passwd").read_text() == before


def test_users_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base image without any user is no obstacle; one with shadowed passwords gets locked ones."""
    monkeypatch.setattr(os, "chown", lambda *_: None)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "shadow").touch()
    add_users.add_users(tmp_path)
    assert len(users(tmp_path)) == 3
    assert (tmp_path / "etc" / "shadow").read_text().startswith("agent:!:")


def test_a_toolchains_variables_are_kept() -> None:
    """What tools of the base need reaches the agent, and the base's PATH comes before the system's."""
    toolchain = {
        "JAVA_HOME": "/jdk",
        "GOPATH": "/go",
        "NODE_OPTIONS": "--max-old-space-size=4096",
        "LANG": "C",
    }
    assert kept(toolchain | {"PATH": "/jdk/bin::/usr/bin"}) == toolchain | {
        "PATH": "/jdk/bin:/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin"
    }
    assert kept({})["PATH"] == SYSTEM_PATH


@pytest.mark.parametrize("name", DANGEROUS)
def test_dangerous_variables_are_left_out(name: str) -> None:
    """What changes how programs are loaded, configured or paid for is not taken from a base image."""
    assert name not in kept({name: "x"})


def test_one_list_of_system_folders() -> None:
    """The Dockerfile, the script and the guest mean the same folders."""
    script = DOCKERFILE.with_name("fit_base.sh").read_text()
    assert f"\nENV PATH={SYSTEM_PATH}\n" in DOCKERFILE.read_text()
    assert f"\nSYSTEM_PATH={SYSTEM_PATH}\n" in script


def labels(dockerfile: Path) -> dict[str, str]:
    instruction = dockerfile.read_text().partition("LABEL ")[2]
    return dict(re.findall(r'([\w.]+)="([^"]*)"', instruction))


def test_labels_say_what_it_is() -> None:
    """The image's label names the guest's protocol, by which the action knows its images."""
    assert labels(DOCKERFILE)[IMAGE_LABEL] == str(PROTOCOL)


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, ROOT / "Dockerfile"], ids=["machine", "action"])
def test_labels_name_version_and_owner(dockerfile: Path) -> None:
    """Whoever finds an image learns which release it is of and where it comes from."""
    found = labels(dockerfile)
    assert found["org.opencontainers.image.version"] == __version__
    assert found["org.opencontainers.image.source"] == f"https://github.com/{OWNER}/flaude-action"


def test_script_is_plain_shell() -> None:
    """A base image may have no shell but a small one."""
    script = str(DOCKERFILE.with_name("fit_base.sh"))
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
