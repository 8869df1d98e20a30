"""Where things are on the machine: folders, Claude Code, and which identity does the unprivileged work.

Everything has a fixed place in our image; the `FLAUDE_*` variables move it, so that a machine can live in a
private folder (localfly's process backend). What happens in these places is elsewhere.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

AGENT_USER = "agent"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONTROL_SOCKET = "control.sock"
IMAGE_ENVIRONMENT = Path(__file__).resolve().parent / "image.env"
"""Written when our image is built: the base image's own ENV, NUL-separated."""

# Set by a build or by a shell, never meant by the base image.
_NOT_THE_IMAGES = frozenset({"HOME", "HOSTNAME", "OLDPWD", "PWD", "SHLVL", "TERM", "USER", "LOGNAME", "_"})


@dataclass(frozen=True)
class Identity:
    """Whom a command runs as; `uid` None means "as we are"."""

    name: str
    uid: int | None
    gid: int | None
    home: Path


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
    def path(self) -> str:
        """PATH for children."""
        return self.image_env.get("PATH") or DEFAULT_PATH

    @classmethod
    def of(cls, environ: Mapping[str, str], *, isolated: bool) -> Places:
        """Read `FLAUDE_RUN_DIR`, `_STATE_DIR`, `_WORK_DIR`, `_HOME` and `_CLAUDE`.

        Relative paths count from the current folder. Raises LookupError when isolation is asked for but we
        are not root or there is no user `agent`.
        """

        def place(name: str, default: str) -> Path:
            return Path(environ.get(name) or default).absolute()

        agent = _agent_user() if isolated else Identity("", None, None, place("FLAUDE_HOME", "/home/agent"))
        return cls(
            run=place("FLAUDE_RUN_DIR", "/run/flaude"),
            state=place("FLAUDE_STATE_DIR", "/var/lib/flaude"),
            work=place("FLAUDE_WORK_DIR", "/workspace"),
            claude=environ.get("FLAUDE_CLAUDE") or "claude",
            agent=agent,
            isolated=isolated,
            image_env=image_environment(environ),
        )


def image_environment(environ: Mapping[str, str], recorded: Path = IMAGE_ENVIRONMENT) -> dict[str, str]:
    """The ENV of the user's base image (JAVA_HOME, PATH, ...), which tools on it rely on.

    It is read from the record made at build time, because the machine's own environment may hold more than
    the image put there (Fly adds variables and, if asked, secrets). Without a record only PATH is taken over.
    """
    if not recorded.is_file():
        return {"PATH": environ.get("PATH") or DEFAULT_PATH}
    pairs = (entry.partition("=") for entry in recorded.read_text("utf-8", "replace").split("\0") if entry)
    return {
        name: value
        for name, _, value in pairs
        if name not in _NOT_THE_IMAGES
        and not name.startswith("FLAUDE_")
        and not name.lower().endswith("_proxy")
    }


def _agent_user() -> Identity:
    if os.getuid() != 0:
        raise LookupError("the supervisor is not root")
    try:
        user = pwd.getpwnam(AGENT_USER)
    except KeyError:
        raise LookupError("there is no user named " + AGENT_USER) from None
    return Identity(user.pw_name, user.pw_uid, user.pw_gid, Path(user.pw_dir))
