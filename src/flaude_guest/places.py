"""Where things are on the machine: folders, Claude Code, and which identity does the unprivileged work.

Everything has a fixed place in our image; the `FLAUDE_*` variables move it, so that a machine can live in a
private folder (localfly's process backend). What happens in these places is elsewhere.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""In our image only root can put programs into these folders."""
CONTROL_SOCKET = "control.sock"
IMAGE_FOLDER = Path("/usr/local/lib/flaude")
"""Where our image has what is ours."""


@dataclass(frozen=True)
class Identity:
    """Whom a command runs as; `uid` None means "as we are"."""

    name: str
    uid: int | None
    gid: int | None
    home: Path


def as_user(who: Identity | None) -> dict[str, Any]:
    """Arguments with which `subprocess` runs a command as somebody; None is "as we are" too."""
    if who is None or who.uid is None:
        return {}
    return {"user": who.uid, "group": who.gid, "extra_groups": []}


@dataclass(frozen=True)
class Places:
    """Absolute paths: `run` holds the socket, `state` what only root may write, `work` the workspaces."""

    run: Path
    state: Path
    work: Path
    claude: str
    agent: Identity
    isolated: bool
    image_env: Mapping[str, str]

    @property
    def socket(self) -> Path:
        return self.run / CONTROL_SOCKET

    @property
    def claude_config(self) -> Path:
        """Claude Code's own folder for a run that nothing configures: only root can have put it there."""
        return self.state / "claude"

    @property
    def path(self) -> str:
        """PATH of what runs as the agent: the base image's own, with its toolchain."""
        return self.image_env["PATH"]

    @property
    def own_path(self) -> str:
        """PATH of what we run ourselves: on the base image's the agent may be able to put a program."""
        return SYSTEM_PATH if self.isolated else self.path

    @classmethod
    def of(cls, environ: Mapping[str, str], *, isolated: bool) -> Places:
        """Read `FLAUDE_RUN_DIR`, `_STATE_DIR`, `_WORK_DIR`, `_HOME` and `_CLAUDE`.

        Relative paths count from the current folder. Raises LookupError when isolation is asked for but we
        are not root or the image has no user for the agent.
        """

        def place(name: str, default: str) -> Path:
            return Path(environ.get(name) or default).absolute()

        if isolated:
            agent, claude = user("agent"), str(IMAGE_FOLDER / "claude")
            image_env = image_environment(IMAGE_FOLDER / "image.env")
        else:
            agent, claude = Identity("", None, None, place("FLAUDE_HOME", "/home/agent")), "claude"
            image_env = {"PATH": environ.get("PATH") or SYSTEM_PATH}
        return cls(
            run=place("FLAUDE_RUN_DIR", "/run/flaude"),
            state=place("FLAUDE_STATE_DIR", "/var/lib/flaude"),
            work=place("FLAUDE_WORK_DIR", "/workspace"),
            claude=environ.get("FLAUDE_CLAUDE") or claude,
            agent=agent,
            isolated=isolated,
            image_env=image_env,
        )


def image_environment(recorded: Path) -> dict[str, str]:
    """The ENV of the user's base image (PATH, JAVA_HOME, ...), which tools on it rely on.

    It is read from what `image/record_env.py` wrote when the image was built, because the machine's own
    environment may hold more than the image put there (Fly adds variables and, if asked, secrets).
    """
    entries = recorded.read_text("utf-8", "surrogateescape").split("\0")
    pairs = (entry.partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def user(role: str) -> Identity:
    """The user that `image/add_users.py` made for a role: `agent`, `verify` or `diff`.

    Its comment field tells, because a base image may have had a user of any name. Raises LookupError when we
    are not root or there is none.
    """
    if os.getuid() != 0:
        raise LookupError("the supervisor is not root")
    found = [each for each in pwd.getpwall() if each.pw_gecos == "flaude " + role]
    if not found:
        raise LookupError("the image has no user for the role " + role)
    return Identity(found[0].pw_name, found[0].pw_uid, found[0].pw_gid, Path(found[0].pw_dir))
