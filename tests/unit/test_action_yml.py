"""action.yml = Inputs = Outputs = the pages under docs/."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
import yaml
from docs import tables
from tests.support.engines import ROOT

from flaude_action.catalog import CATALOG
from flaude_action.inputs import FILE_READERS, READERS, Inputs
from flaude_action.run_report import Outputs

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
UNTRUSTED = {
    "error_message", "result", "structured_output", "changed_files", "patch_file", "log_tail", "log_file",
    "execution_file", "report_file",
}  # fmt: skip


def test_inputs_are_those_of_action_yml() -> None:
    """Every declared input is a field of Inputs, in the same order, and the other way round."""
    assert list(ACTION["inputs"]) == [field.name for field in fields(Inputs)]


def test_every_input_has_one_reader() -> None:
    """Each input is read in exactly one way."""
    assert not READERS.keys() & FILE_READERS.keys()
    assert READERS.keys() | FILE_READERS.keys() == set(ACTION["inputs"])


def test_outputs_are_those_of_action_yml() -> None:
    """Every declared output is a field of Outputs, in the same order, and the other way round."""
    assert list(ACTION["outputs"]) == [field.name for field in fields(Outputs)]


@pytest.mark.parametrize("name", ACTION["inputs"])
def test_defaults_agree(name: str) -> None:
    """The default in action.yml is that of Inputs, which act's post, where no default arrives, relies on."""
    default = ACTION["inputs"][name].get("default", "")
    if "${{" in default:
        default = ""  # the runner's to fill in
    built_in = getattr(Inputs(), name)
    assert (READERS[name](default) if default else built_in) == built_in


@pytest.mark.parametrize("name", ACTION["inputs"])
def test_secrets_have_no_default(name: str) -> None:
    """Only the job's own token and index come by themselves."""
    expressions = {"github_token": "${{ github.token }}", "matrix_index": "${{ strategy.job-index }}"}
    default = ACTION["inputs"][name].get("default", "")
    assert default == expressions.get(name, default)
    assert ("${{" in default) == (name in expressions)


def test_untrusted_outputs_say_so() -> None:
    """Whoever reads the list of outputs is told which ones hold a stranger's text."""
    marked = {name for name, given in ACTION["outputs"].items() if "Untrusted" in given["description"]}
    assert marked == UNTRUSTED


def test_main_and_post_are_programs_of_the_image() -> None:
    """The two stages are executables that the Dockerfile copies; post runs whatever happened."""
    runs = ACTION["runs"]
    assert runs["using"] == "docker"
    assert runs["image"] == "Dockerfile"
    assert runs["post-if"] == "always()"
    dockerfile = (ROOT / "Dockerfile").read_text()
    for stage in ("entrypoint", "post-entrypoint"):
        folder, _, program = runs[stage].rpartition("/")
        assert f"docker/{program}" in dockerfile
        assert f"{folder}/" in dockerfile
    assert "args" not in runs, "they would reach both stages"


def test_the_marketplace_takes_it() -> None:
    """The description is short enough and the branding is GitHub's."""
    assert len(ACTION["description"]) < 125
    assert ACTION["branding"] == {"icon": "cloud-lightning", "color": "purple"}


@pytest.mark.parametrize(("path", "text"), tables.pages().items(), ids=lambda part: getattr(part, "name", ""))
def test_pages_are_current(path: Any, text: str) -> None:
    """The generated pages are what `make docs` would write."""
    assert path.read_text() == text


def test_page_names_everything() -> None:
    """The page about inputs holds a YAML block with each input, and a row for each output."""
    page = (ROOT / "docs" / "inputs.md").read_text()
    block = page.split("```yaml\n")[1].split("```")[0]
    step = yaml.safe_load(block)[0]
    assert list(step["with"]) == list(ACTION["inputs"])
    assert all(f"| `{name}` |" in page for name in ACTION["outputs"])


def test_every_failure_has_its_anchor() -> None:
    """The link of each annotation leads to a heading of its own; ids are what GitHub's anchors can be."""
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "failures.md").read_text(), re.MULTILINE)
    assert headings == list(CATALOG)
    assert all(re.fullmatch(r"[a-z_]+", type_) for type_ in CATALOG)
    assert {kind.url.partition("#")[2] for kind in CATALOG.values()} == set(CATALOG)
