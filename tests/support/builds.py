"""Small builds for tests of the image stage: contexts, a tiny stand-in for the guest's layers, what is left.

Every Dockerfile made here begins with a label of its own test, which all its layers and containers inherit,
so that what a build leaves behind is found beside whatever else the engine is doing.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LABEL = "flaude.test.build"


@dataclass
class Workshop:
    """One test's folder, its label, and everything that was said to it."""

    folder: Path
    word: str
    base: str
    said: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{LABEL}={self.word}"

    def context(self, dockerfile: str, name: str = "context", **files: str) -> Path:
        """A folder with a Dockerfile of these lines on the base, and files by name."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "Dockerfile").write_text(f"FROM {self.base}\nLABEL {self.label}\n{dockerfile}\n")
        for file, text in files.items():
            (folder / file).write_text(text)
        return folder

    def guest(self) -> Path:
        """Layers so small that a test can build them often."""
        folder = self.folder / "guest"
        (folder / "image").mkdir(parents=True)
        (folder / "marker").write_text("the guest\n")
        (folder / "image" / "Dockerfile").write_text(
            f"ARG BASE_IMAGE=debian\nFROM ${{BASE_IMAGE}}\nLABEL {self.label}\n"
            "COPY src/flaude_guest/marker /marker\nLABEL flaude.guest.protocol=1\n"
        )
        return folder

    def say(self, line: str) -> None:
        self.said.append(line)

    def left(self) -> list[str]:
        """Images and containers of this test that the engine still has."""
        label = f"label={self.label}"
        images = docker("images", "--all", "--quiet", "--filter", label)
        return (images + docker("ps", "--all", "--quiet", "--filter", label)).split()


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def push(local: str, name: str) -> None:
    """Push an image of the engine to a registry on loopback, leaving no name behind."""
    docker("tag", local, name)
    docker("push", "--quiet", name)
    forget(name.partition("/")[0])


def forget(address: str) -> None:
    """Remove every name that images of the engine have in a registry; images without another name go too."""
    form = "{{range .RepoTags}}{{println .}}{{end}}{{range .RepoDigests}}{{println .}}{{end}}"
    for image in set(docker("images", "--quiet", "--filter", f"reference={address}/*").split()):
        ours = [
            name for name in docker("inspect", "--format", form, image).split() if name.startswith(address)
        ]
        # Without its last tag an image loses its digests' names as well.
        for name in sorted(ours, key=lambda name: "@" not in name):
            docker("rmi", name)
