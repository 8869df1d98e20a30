"""Install Claude Code's native program from its npm package, checked against the registry's published digest.

    install_claude.py REGISTRY VERSION INTEGRITY TARGET

Used while the machine's image is built, so that neither Node nor npm is needed in it.
https://docs.npmjs.com/cli/configuring-npm/package-lock-json#packages (integrity)
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

PACKAGE = "claude-code-linux-x64"
PROGRAM = "package/claude"


def main(registry: str, version: str, integrity: str, target: str) -> None:
    url = "%s/@anthropic-ai/%s/-/%s-%s.tgz" % (registry.rstrip("/"), PACKAGE, PACKAGE, version)
    digest = hashlib.sha512()
    with tempfile.TemporaryFile() as package:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the registry's own https URL
            for part in iter(lambda: answer.read(1 << 20), b""):
                digest.update(part)
                package.write(part)
        found = "sha512-" + base64.b64encode(digest.digest()).decode("ascii")
        if found != integrity:
            sys.exit("%s is not the published package: it has %s" % (url, found))
        package.seek(0)
        with tarfile.open(fileobj=package, mode="r:gz") as tar:
            program = tar.extractfile(PROGRAM)
            if program is None:
                sys.exit("%s has no %s" % (url, PROGRAM))
            with program, Path(target).open("wb") as file:
                shutil.copyfileobj(program, file, 1 << 20)
    Path(target).chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
