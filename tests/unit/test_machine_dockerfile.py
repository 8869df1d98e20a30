"""What the machine image is built from, for everybody who builds it."""

from __future__ import annotations

from flaude_action.image_recipe import guest_build
from flaude_action.machine_dockerfile import arguments, default


def test_the_context_is_the_guest() -> None:
    """The guest's sources and its image's files are in it where the Dockerfile expects them."""
    names = {entry.name for entry in guest_build().context.entries}
    assert {"src/flaude_guest/protocol.py", "src/flaude_guest/image/fit_base.sh"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_what_is_pinned() -> None:
    """Base image and Claude Code version are read from the Dockerfile."""
    assert default("BASE_IMAGE")
    assert default("CLAUDE_CODE_VERSION")[0].isdigit()


def test_a_mirror_is_named_only_if_there_is_one() -> None:
    """Without one the Dockerfile's own registry is used."""
    assert arguments("debian") == {"BASE_IMAGE": "debian"}
    assert arguments("debian", "https://npm.test") == {
        "BASE_IMAGE": "debian",
        "NPM_REGISTRY": "https://npm.test",
    }
