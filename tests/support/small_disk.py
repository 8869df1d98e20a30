"""A Docker engine of its own whose disk is a small tmpfs, and one command run beside it.

    python -m tests.support.small_disk MEGABYTES COMMAND…

The command finds the engine in DOCKER_HOST. Everything happens in a network and a mount namespace of its own:
a second engine in the first one's network would take its bridge away, and with the namespaces all mounts go.
Needs root, Linux and `dockerd`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INSIDE = "--inside"


def run_beside_engine(folder: Path, megabytes: str, command: list[str]) -> int:
    """Mount, start the engine, run the command, stop the engine; the command's exit code."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)], check=True)
    host = f"unix://{folder}/docker.sock"
    places = [f"--data-root={disk}", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    options = [*places, f"--host={host}", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    with (folder / "log").open("wb") as log:
        engine = subprocess.Popen(["dockerd", *options], stdout=log, stderr=log)
    try:
        environment = {**os.environ, "DOCKER_HOST": host}
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "version"], capture_output=True, env=environment).returncode:
            if engine.poll() is not None or time.monotonic() > deadline:
                sys.exit((folder / "log").read_text(errors="replace")[-4000:])
            time.sleep(0.1)
        return subprocess.run(command, env=environment).returncode
    finally:
        engine.terminate()
        engine.wait(30)
        for mount in ("exec", "disk"):
            with contextlib.suppress(OSError):
                subprocess.run(["umount", "--recursive", str(folder / mount)], capture_output=True)


def main() -> int:
    if sys.argv[1] == INSIDE:
        return run_beside_engine(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    with tempfile.TemporaryDirectory(prefix="flaude-disk-") as folder:
        again = [sys.executable, "-m", "tests.support.small_disk", INSIDE, folder, *sys.argv[1:]]
        return subprocess.run(["unshare", "--net", "--mount", "--propagation", "private", *again]).returncode


if __name__ == "__main__":
    sys.exit(main())
