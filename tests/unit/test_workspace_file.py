"""Files that a workflow names are read only if they truly lie in the workspace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from flaude_action.workspace_file import NotReadable, read_workspace_file

if TYPE_CHECKING:
    from pathlib import Path


def refusal(workspace: Path, name: str, limit: int = 100) -> str:
    with pytest.raises(NotReadable) as refused:
        read_workspace_file(workspace, name, limit)
    return str(refused.value)


def test_text_is_read(tmp_path: Path) -> None:
    """A file below the workspace is read, by relative and by absolute name, without its byte order mark."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.md").write_text("\ufeffé")
    assert read_workspace_file(tmp_path, "a/b.md", 100) == "é"
    assert read_workspace_file(tmp_path, "./a/../a/b.md", 100) == "é"
    assert read_workspace_file(tmp_path, str(tmp_path / "a" / "b.md"), 100) == "é"


def test_links_inside_are_followed(tmp_path: Path) -> None:
    """A link to another file of the workspace is fine, and so is a workspace that is a link itself."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "b.md").write_text("x")
    (tmp_path / "real" / "link").symlink_to("b.md")
    (tmp_path / "workspace").symlink_to("real")
    assert read_workspace_file(tmp_path / "workspace", "link", 100) == "x"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/proc/self/environ", "leads out of the workspace"),
        ("../secret", "leads out of the workspace"),
        ("out", "leads out of the workspace"),
        ("folder-out/secret", "leads out of the workspace"),
        ("missing", "does not exist in the workspace"),
        ("dangling", "does not exist in the workspace"),
        ("loop", "does not exist in the workspace"),
        ("", "is not a file name"),
        ("a\0b", "is not a file name"),
        (".", "is not a regular file"),
        ("folder", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("binary", "is not UTF-8 text"),
        ("nul", "is not UTF-8 text"),
        ("\ud800", "does not exist in the workspace"),
        ("large", "has 101 bytes, 100 are allowed"),
        (".git/config", "is inside `.git`"),
        ("to-git", "is inside `.git`"),
    ],
)
def test_refusals(tmp_path: Path, name: str, why: str) -> None:
    """Everything else is refused with its reason, and no pipe is waited for."""
    workspace = tmp_path / "workspace"
    (workspace / "folder").mkdir(parents=True)
    (workspace / ".git").mkdir()
    (workspace / ".git" / "config").write_text("token")
    (tmp_path / "secret").write_text("x")
    links = {"out": "../secret", "folder-out": "..", "dangling": "nowhere", "loop": "loop"}
    for link, target in (links | {"to-git": ".git/config"}).items():
        (workspace / link).symlink_to(target)
    os.mkfifo(workspace / "pipe")
    (workspace / "binary").write_bytes(b"\xff\xfe\x00")
    (workspace / "nul").write_bytes(b"a\0b")
    (workspace / "large").write_text("x" * 101)
    assert refusal(workspace, name) == why


def test_a_link_put_there_in_between_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that turns into a link after its path was resolved is not followed."""
    (tmp_path / "outside").write_text("secret")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "a.md").write_text("x")
    real_open = os.open

    def swap_then_open(path: str, *args: int, **more: int) -> int:
        if path == "a.md":
            (workspace / "a.md").unlink()
            (workspace / "a.md").symlink_to("../outside")
        return real_open(path, *args, **more)

    monkeypatch.setattr(os, "open", swap_then_open)
    assert refusal(workspace, "a.md").startswith("cannot be read")
