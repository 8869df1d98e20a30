"""Write down the base image's ENV (PATH, JAVA_HOME, GOPATH, ...), on which its tools rely, for the agent.

    record_env.py FILE

It is done while the image is built: on a running machine the image's own variables could not be told from
what the platform adds, secrets among it. What would change how our own programs are loaded, configured or
paid for is left out. FILE gets NAME=VALUE entries, each ended by NUL.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Mapping

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

_LEFT_OUT = re.compile(
    r"""
    LD_.* | GLIBC_TUNABLES | GCONV_PATH | MALLOC_.*             # the loader and the C library
    | BASH_ENV | BASH_FUNC_.* | BASHOPTS | SHELLOPTS | ENV      # every shell that starts
    | PROMPT_COMMAND | PS4 | IFS | CDPATH | GLOBIGNORE
    | PYTHON.* | GIT_.* | BUN_OPTIONS | BUN_BE_BUN | BUN_INSPECT.*
    | ANTHROPIC_.* | CLAUDE.* | FLAUDE_.*                       # Claude Code and us
    | HOME | USER | LOGNAME | SHELL | TMPDIR | TMP | TEMP       # the agent's are its own
    | HOSTNAME | PWD | OLDPWD | SHLVL | TERM | _                # a build's or a shell's
    | (?i:\w+_proxy)                                            # of where it was built
    """,
    re.VERBOSE,
)


def kept(environ: Mapping[str, str]) -> dict[str, str]:
    """What of a base image's ENV reaches the agent; the system's folders are on PATH in any case."""
    env = {name: value for name, value in environ.items() if not _LEFT_OUT.fullmatch(name)}
    path = [folder for folder in env.get("PATH", "").split(":") if folder]
    env["PATH"] = ":".join([*path, *(folder for folder in SYSTEM_PATH if folder not in path)])
    return env


if __name__ == "__main__":
    entries = ["%s=%s\0" % pair for pair in sorted(kept(os.environ).items())]
    Path(sys.argv[1]).write_bytes(os.fsencode("".join(entries)))
