"""The workflows, the examples and action.yml, as GitHub and an auditor read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support import engines
from tests.support.engines import ROOT

from flaude_action import DEFAULT_IMAGE

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))
ACTION_YML = ROOT / "action.yml"

each_workflow = pytest.mark.parametrize("path", WORKFLOWS + EXAMPLES, ids=lambda path: path.name)
each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)


def parsed(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def jobs(path: Path) -> list[dict[str, Any]]:
    return list(parsed(path)["jobs"].values())


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path) for step in job["steps"]]


@pytest.mark.workflow_parser
def test_github_can_read_them() -> None:
    """GitHub's own parser finds nothing wrong with the workflows, the examples and action.yml."""
    assert engines.parse_workflows(*WORKFLOWS, *EXAMPLES, ACTION_YML) == []


@pytest.mark.zizmor
def test_auditor_finds_nothing() -> None:
    """zizmor has no finding, in its strictest mode."""
    command = [engines.zizmor(), "--offline", "--no-progress", "--persona=auditor", "--format=plain"]
    audit = subprocess.run(
        [*command, ".github", "examples", "action.yml"], cwd=ROOT, capture_output=True, text=True
    )
    assert audit.returncode == 0, audit.stdout


@each_workflow
def test_rights_are_given_job_by_job(path: Path) -> None:
    """A workflow has no rights of its own; each job says its own, why, and how long it may take."""
    assert parsed(path)["permissions"] == {}
    for job in jobs(path):
        assert "permissions" in job
        assert job["timeout-minutes"] <= 60
    for right in re.findall(r"^ +[a-z-]+: (?:read|write)\b.*$", path.read_text(), re.MULTILINE):
        assert " # " in right, f"{right.strip()}: say what for"


@each_workflow
def test_actions_are_pinned(path: Path) -> None:
    """An action of somebody else is named by commit, with its version as a comment."""
    for line in re.findall(r"^[ -]*uses: .*$", path.read_text(), re.MULTILINE):
        ours = re.search(r"uses: (\./( #.*)?|[\w.-]+/flaude-action@v\d+)$", line)
        assert ours or re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@each_workflow
def test_checkouts_leave_no_credential(path: Path) -> None:
    """The token of the job is not left in the checked-out repository."""
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@each_example
def test_examples_use_what_exists(path: Path) -> None:
    """The inputs that an example gives and the outputs that it reads are declared in action.yml."""
    action = parsed(ACTION_YML)
    ours = [step for step in steps(path) if "/flaude-action@" in step.get("uses", "")]
    assert ours
    for step in ours:
        assert step["with"].keys() <= action["inputs"].keys()
    names = "|".join(step["id"] for step in ours if "id" in step)
    read = set(re.findall(rf"steps\.(?:{names})\.outputs\.(\w+)", path.read_text())) if names else set()
    assert read <= action["outputs"].keys()


def test_both_stages_start_a_program_of_the_image() -> None:
    """Main and post are executables that the Dockerfile puts where action.yml looks for them."""
    runs = parsed(ACTION_YML)["runs"]
    assert runs["using"] == "docker"
    assert runs["image"] == "Dockerfile"
    assert (runs["entrypoint"], runs["post-entrypoint"]) == (
        "/usr/local/bin/flaude-main",
        "/usr/local/bin/flaude-post",
    )
    for name in ("flaude-main", "flaude-post"):
        assert (ROOT / "docker" / name).stat().st_mode & 0o111
        assert f"docker/{name}" in (ROOT / "Dockerfile").read_text()


def test_release_writes_digests(tmp_path: Path) -> None:
    """What a release writes into the tree is what the action and the runner read: digests only."""
    script = tmp_path / ".github" / "write-digests"
    for name in (".github/write-digests", "action.yml", "src/flaude_action/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    machine = f"{DEFAULT_IMAGE.partition(':')[0]}@sha256:{'1a' * 32}"
    action = machine.replace("flaude-machine", "flaude-action")
    tagged = subprocess.run([script, DEFAULT_IMAGE], capture_output=True, text=True)
    assert tagged.returncode == 1
    assert "not named by digest" in tagged.stderr
    subprocess.run([script, machine, action], check=True)
    assert parsed(tmp_path / "action.yml")["runs"]["image"] == f"docker://{action}"
    namespace: dict[str, Any] = {}
    exec((tmp_path / "src" / "flaude_action" / "__init__.py").read_text(), namespace)
    assert namespace["DEFAULT_IMAGE"] == machine


def test_release_publishes_in_order() -> None:
    """The action's image holds the machine image's digest, and the tagged commit holds both."""
    release = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert release["pin"]["needs"] == "check"
    assert release["machine"]["needs"] == "pin"
    assert release["action"]["needs"] == ["pin", "machine"]
    assert release["tag"]["needs"] == ["machine", "action"]
