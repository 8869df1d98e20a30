"""The machine image's build context."""

from __future__ import annotations

import io
import tarfile

from flaude_action.machine_dockerfile import default
from flaude_action.rehearse_image import guest_context


def test_the_context_is_the_guest() -> None:
    """The guest's sources and its Dockerfile are in it where that expects them, without bytecode."""
    with tarfile.open(fileobj=io.BytesIO(guest_context())) as tar:
        names = tar.getnames()
    assert {"src/flaude_guest/protocol.py", "src/flaude_guest/image/Dockerfile"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_same_files_make_the_same_context() -> None:
    """So an image built from the same content is found again."""
    assert guest_context() == guest_context()


def test_what_is_pinned() -> None:
    """Base image and Claude Code version are read from the Dockerfile."""
    assert default("BASE_IMAGE")
    assert default("CLAUDE_CODE_VERSION")[0].isdigit()
