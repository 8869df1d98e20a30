"""Whether the repository's own Claude Code configuration is loaded: what the inputs and the event come to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flaude_action.event import Event
from flaude_action.inputs import Inputs, ProjectSettings
from flaude_action.preflight import _settings_told, isolated_because

if TYPE_CHECKING:
    from pathlib import Path

OWN = {"repository": {"full_name": "owner/repo", "default_branch": "main"}}


def push(tmp_path: Path, ref: str = "refs/heads/main", name: str = "push") -> Event:
    (tmp_path / "event.json").write_text(json.dumps(OWN))
    return Event.from_env({
        "GITHUB_EVENT_NAME": name,
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_REPOSITORY": "owner/repo",
        "GITHUB_SHA": "a" * 40,
        "GITHUB_REF": ref,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "ref", "why"),
    [
        (Inputs(), "refs/heads/main", ""),
        (Inputs(ref="main"), "refs/heads/topic", ""),
        (Inputs(repository="Owner/Repo"), "refs/heads/topic", ""),
        (Inputs(ref="a" * 40), "refs/heads/main", ""),
        (Inputs(project_settings="always", ref="topic"), "refs/heads/topic", ""),
        (Inputs(project_settings="never"), "refs/heads/main", "`project_settings` is `never`"),
        (Inputs(), "refs/heads/topic", "not known to be the head"),
        (Inputs(ref="topic"), "refs/heads/main", "not known to name"),
        (Inputs(ref="b" * 40), "refs/heads/main", "not known to name"),
        (Inputs(repository="fork/repo"), "refs/heads/main", "not known to name"),
        (Inputs(repository="fork/repo", ref="main"), "refs/heads/main", "not known to name"),
        (Inputs(extra_repositories=(("a/b", ""),)), "refs/heads/main", "`extra_repositories`"),
    ],
    ids=str,
)
def test_isolated_because(tmp_path: Path, inputs: Inputs, ref: str, why: str) -> None:
    """Everything that is checked out has to be the own default branch's, or somebody has to say always."""
    found = isolated_because(inputs, push(tmp_path, ref))
    assert why in found
    assert bool(found) is bool(why)


@pytest.mark.parametrize("wanted", ["auto", "never", "always"])
@pytest.mark.parametrize("image", [None, "acme/tools:1"])
def test_the_log_tells_and_says_how_to_change_it(
    tmp_path: Path, wanted: ProjectSettings, image: str | None
) -> None:
    """One sentence with the reason, one with the input; of an image of the user's own it claims nothing."""
    inputs = Inputs(project_settings=wanted, image=image)
    told = _settings_told(inputs, isolated_because(inputs, push(tmp_path)))
    assert "`project_settings" in told
    assert ("is not loaded" in told) is (wanted == "never")
    assert ("it decides that by itself" in told) is (image is not None)
    assert "\n" not in told
