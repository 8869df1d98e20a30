"""Our reading of `.dockerignore` beside that of Docker's own program."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from flaude_action.build_context import read_context
from flaude_action.dockerignore import DockerIgnore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker

FILES = (
    "README.md", "README-secret.md", "a.txt", "b.txt", "docs/a.md", "docs/deep/b.md", "docs/deep/c.txt",
    "src/a", "src/b/a", "src/b/c/a", "temp", "temporary/file", "one/temp1", "one/two/temp2", "*star",
    "[a-c].txt", "node_modules/x/index.js", "sub/node_modules/x/index.js", "space name", ".hidden/file",
)  # fmt: skip
IGNORES = (
    "docs",
    "/docs/\n!docs/deep",
    "*\n!src/b\n",
    "**/*.md\n!README.md\n",
    "*/temp*\n*/*/temp*\ntemp?\n",
    "**/node_modules\n!sub/node_modules/x\n",
    "[a-c].txt\n",
    "\\*star\n# comment\n",
    "*.md\n!README*.md\nREADME-secret.md\n",
    "src/**/a\n",
    "src/*\n!src/b/c\n",
    "./docs/../src\n  space name  \n.hidden\n",
    "[^a].txt\n**/deep/**\n",
)


@pytest.mark.parametrize("text", IGNORES)
def test_docker_sends_the_same_files(tmp_path: Path, text: str) -> None:
    """Both look at one folder; what its own program sends is read out of the image it makes.

    Only where a `!` pattern begins with a wildcard do they differ: the classic program does not look into
    folders that are left out, BuildKit and we do.
    """
    folder = tmp_path / "context"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".dockerignore").write_text(text)
    ours = {entry.name for entry in read_context(folder, DockerIgnore(text)).entries if entry.kind == "file"}
    assert ours == sent_by_docker(folder, tmp_path / "Dockerfile")


def sent_by_docker(folder: Path, dockerfile: Path) -> set[str]:
    dockerfile.write_text("FROM scratch\nCOPY . /context\nCMD x\n")
    build = ["docker", "build", "--quiet", "--no-cache", "--force-rm", "--file", str(dockerfile), str(folder)]
    done = subprocess.run(
        build, capture_output=True, text=True, env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/bin"}
    )
    if "no source files" in done.stderr:  # it sends nothing at all
        return set()
    image = done.stdout.strip()
    container = subprocess.check_output(["docker", "create", image], text=True).strip()
    try:
        exported = subprocess.check_output(["docker", "export", container])
    finally:
        subprocess.run(["docker", "rm", container], capture_output=True)
        subprocess.run(["docker", "rmi", image], capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        names = {one.name.removeprefix("context/") for one in tar.getmembers() if one.isfile()}
    return {name for name in names if name in FILES}
