"""The last step of building the machine image: put our programs in place and see that Claude Code starts.

What a base image must have was seen to before, by `fit_base.sh`.
"""

from __future__ import annotations

import compileall
import py_compile
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path("/usr/local/lib/flaude")
COMMANDS = Path("/usr/local/bin")
CLAUDE_START_S = 120


def main() -> None:
    """Exits with words when the image would be of no use."""
    image = FOLDER / "flaude_guest" / "image"
    _close(FOLDER)
    _link(FOLDER / "__main__.py", image / "entrypoint.py")
    _link(COMMANDS / "flaude-guest", image / "flaude-guest")
    _link(COMMANDS / "claude", FOLDER / "claude")
    # Hash-based bytecode needs no look at time stamps, which differ from build to build.
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(FOLDER / "flaude_guest", quiet=1, invalidation_mode=unchecked):
        sys.exit("flaude-action: the guest does not compile with Python %s" % sys.version)
    _start_claude()


def _close(folder: Path) -> None:
    """Everybody may read what is ours, only root may write it, whatever modes the build context had.

    What has its mode already is not touched: that would put a second copy of it into this step's layer.
    """
    for path in (folder, *folder.rglob("*")):
        runs = path.is_dir() or path.name in ("claude", "flaude-guest")
        mode = 0o755 if runs else 0o644
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def _link(name: Path, target: Path) -> None:
    name.parent.mkdir(parents=True, exist_ok=True)
    name.unlink(missing_ok=True)
    name.symlink_to(target)


def _start_claude() -> None:
    """Claude Code must start on this base: an old glibc shows here and not on a machine that is paid for."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [str(FOLDER / "claude"), "--version"],
            env={"HOME": home, "PATH": "/usr/bin:/bin", "DISABLE_AUTOUPDATER": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CLAUDE_START_S,
            check=False,
        )
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        sys.exit("flaude-action cannot use this base image: Claude Code does not start on it: " + said[:500])
    sys.stdout.write("Claude Code %s\n" % said)


if __name__ == "__main__":
    main()
