"""The tag that names an image's content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from flaude_action import image_recipe
from flaude_action.errors import ConfigError
from flaude_action.image_recipe import content_tag, guest_build, user_build
from flaude_action.machine_dockerfile import DOCKERFILE

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("ARG V=1\nFROM debian:$V\nCOPY . /a\n")
    (tmp_path / "file").write_text("text")
    return tmp_path


def tag_of(context: Path, build_args: dict[str, str] | None = None, digest: str = DIGEST) -> str:
    user = user_build(context, context / "Dockerfile", build_args or {})
    return content_tag(user, guest_build(), dict.fromkeys(user.images, digest), build_args or {})


def test_the_tag_is_one_for_a_registry(context: Path) -> None:
    """Short enough, and telling whose it is."""
    assert re.fullmatch(r"flaude-[0-9a-f]{40}", tag_of(context))
    assert tag_of(context) == tag_of(context)


def test_everything_that_goes_in_changes_the_tag(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base, arguments, files, Dockerfile, our version; not where Claude Code's pinned package is fetched."""
    tags = {tag_of(context), tag_of(context, digest=DIGEST[:-1] + "2"), tag_of(context, {"X": "1"})}
    assert tag_of(context, {"NPM_REGISTRY": "https://npm.example.com"}) in tags
    (context / "file").write_text("texT")
    tags.add(tag_of(context))
    (context / "Dockerfile").write_text("ARG V=1\nFROM debian:$V\nCOPY . /b\n")
    tags.add(tag_of(context))
    monkeypatch.setattr(image_recipe, "__version__", "9.9.9")
    tags.add(tag_of(context))
    assert len(tags) == 6


def test_the_guests_files_change_the_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Dockerfile says the version of Claude Code, so a new one is another image."""
    before = content_tag(None, guest_build(), {"BASE_IMAGE": DIGEST}, {})
    changed = tmp_path / "Dockerfile"
    changed.write_text(DOCKERFILE.read_text().replace("CLAUDE_CODE_VERSION=2", "CLAUDE_CODE_VERSION=3"))
    monkeypatch.setattr(image_recipe, "DOCKERFILE", changed)
    assert content_tag(None, guest_build(), {"BASE_IMAGE": DIGEST}, {}) != before


def test_a_base_with_another_content_is_another_image() -> None:
    """Only its digest counts: where it comes from is not even asked for."""
    guest = guest_build()
    tags = {content_tag(None, guest, {"BASE_IMAGE": digest}, {}) for digest in (DIGEST, DIGEST[:-1] + "2")}
    assert len(tags) == 2


def test_compiled_files_of_the_guest_do_not_count() -> None:
    """Whoever has run the guest's code before has them."""
    assert not [entry.name for entry in guest_build().context.entries if "__pycache__" in entry.name]


def test_the_dockerfiles_own_ignore_file_goes_first(context: Path) -> None:
    """`Dockerfile.dockerignore` is used in place of `.dockerignore`, as BuildKit does."""
    (context / ".dockerignore").write_text("file\n")
    names = [entry.name for entry in user_build(context, context / "Dockerfile", {}).context.entries]
    assert names == ["Dockerfile"]
    (context / "Dockerfile.dockerignore").write_text("Dockerfile*\n")
    names = [entry.name for entry in user_build(context, context / "Dockerfile", {}).context.entries]
    assert names == ["file"]


def test_a_missing_dockerfile(context: Path) -> None:
    """Named, and told before anything is started."""
    with pytest.raises(ConfigError, match=r"Dockerfile\.ci") as raised:
        user_build(context, context / "Dockerfile.ci", {})
    assert raised.value.type == "config_invalid"


def test_a_dockerfile_that_names_no_image(context: Path) -> None:
    """A name that no registry could have is refused here, not by an engine much later."""
    (context / "Dockerfile").write_text("FROM Not/An:Image:At:All\n")
    with pytest.raises(ConfigError, match="not an image reference"):
        user_build(context, context / "Dockerfile", {})
