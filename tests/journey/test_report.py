"""What a step leaves behind, whatever became of it: all outputs, one report, one annotation in the lead."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from tests.support.step import CREDENTIAL, FIX, ROOT, Ended, Stage, bash, launch, script, stage

from flaude_action.run_report import rendered

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.claude

OUTPUTS = list(yaml.safe_load((ROOT / "action.yml").read_text())["outputs"])
SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text())
BUG = """
import flaude_action.execution

async def broken(self):
    raise RuntimeError("nobody foresaw this: CREDENTIAL")

flaude_action.execution.Execution.run = broken
"""


def told(ended: Ended) -> dict[str, Any]:
    """The step's report, checked: valid, the same as the outputs, and with every output set."""
    assert list(ended.outputs) == OUTPUTS
    report: dict[str, Any] = json.loads((ended.workspace / ended.outputs["report_file"]).read_text())
    jsonschema.validate(report, SCHEMA)
    for name in OUTPUTS:
        assert ended.outputs[name] == rendered(report[name]).strip("\n"), name
    assert str(report["conclusion"]) in ended.summary.split("\n")[0]
    for error in report["errors"]:
        assert error["ref"] in ended.summary
        assert len([text for text in ended.of_level("error") if error["ref"] in text]) == 1
        assert "dev" not in error
    return report


def test_schema_names_every_output() -> None:
    """The schema of report.json is itself valid and starts with action.yml's outputs, in their order."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert [name for name in SCHEMA["properties"] if name in OUTPUTS] == OUTPUTS
    assert SCHEMA["required"] == list(SCHEMA["properties"])


async def test_success(tmp_path: Path) -> None:
    """A good run: costs of model and machine, what changed, what decided."""
    async with stage(tmp_path, FIX) as here:
        ended = await here.step(regions="fra")
    report = told(ended)
    assert report["changes"] == [{"path": "answer.txt", "status": "added", "size": 6}]
    assert 0 < report["machine"]["seconds"] < 120
    assert float(ended.outputs["machine_cost_usd"]) > 0
    assert report["evidence"]["guest_result"] is True
    assert "the machine's own result document decided" in ended.summary.lower()
    assert "- A `answer.txt`" in ended.summary


async def test_failed_setup_is_placed(tmp_path: Path) -> None:
    """A failing setup: the lead shows its own last lines, and the places it named are at the code."""
    setup = (
        "mkdir src; printf '1\\n2\\n3' > src/a.c; echo 'src/a.c:3:14: error: expected ;' >&2;"
        " echo 'make: failed'; exit 2"
    )
    async with stage(tmp_path) as here:
        ended = await here.step(setup=setup)
    report = told(ended)
    lead, place = ended.of_level("error")
    assert "title=The setup command failed" in lead
    assert lead.endswith("Last lines of the log:%0Asrc/a.c:3:14: error: expected ;%0Amake: failed")
    assert "docs/failures.md#setup_command_failed" in lead
    assert place == "file=src/a.c,line=3,col=14,title=The setup command failed error: expected ;"
    assert report["findings"][0]["file"] == "src/a.c"
    assert "- `src/a.c:3`" in ended.summary


async def test_places_of_another_repository_are_not_shown_in_this_one(tmp_path: Path) -> None:
    """When the work is on another repository than the workflow's, its paths mean nothing here."""
    async with stage(tmp_path) as here:
        variables = here.variables(
            {"repository": "acme/widget", "setup": "touch a.c; echo a.c:1: e; exit 1"}, {}
        )
        ended = await (await launch(variables | {"GITHUB_REPOSITORY": "acme/other"})).ended()
    told(ended)
    assert len(ended.of_level("error")) == 1


async def test_wrong_input(tmp_path: Path) -> None:
    """Without a machine there are all outputs too, and a report that says nothing it does not know."""
    async with stage(tmp_path) as here:
        ended = await here.step(prompt="", timeout="30")
    report = told(ended)
    assert ended.exit_code == 2
    assert [error["type"] for error in report["errors"]] == ["prompt_missing", "config_invalid"]
    assert (report["evidence"], report["machine"], report["machine_id"]) == ({}, {}, "")


async def test_cancel(tmp_path: Path) -> None:
    """A cancelled step has set its outputs before it ends."""
    async with stage(tmp_path, script(bash("sleep 30"))) as here:
        running = await here.start()
        await running.until("> Bash")
        running.signal(signal.SIGINT)
        ended = await running.ended()
    assert told(ended)["conclusion"] == "cancelled"


async def with_bug(here: Stage, **environ: str) -> Ended:
    """A step of an action that breaks in a way nobody foresaw."""
    plant = here.folder / "plant"
    plant.mkdir(exist_ok=True)
    (plant / "sitecustomize.py").write_text(BUG.replace("CREDENTIAL", CREDENTIAL))
    variables = here.variables({}, environ)
    return await (await launch(variables | {"PYTHONPATH": f"{plant}:{variables['PYTHONPATH']}"})).ended()


@pytest.mark.parametrize("debug", ["", "1"])
async def test_unknown_exception(tmp_path: Path, debug: str) -> None:
    """A bug of ours: fixed wording outside, all of it in the log, and no secret anywhere."""
    async with stage(tmp_path) as here:
        ended = await with_bug(here, RUNNER_DEBUG=debug)
    report = told(ended)
    assert ended.exit_code == 1
    assert report["error_type"] == "internal_error"
    outside = json.dumps(report) + ended.summary + json.dumps(ended.outputs) + str(ended.annotations)
    assert "foresaw" not in outside
    assert "RuntimeError" not in outside
    assert "RuntimeError: nobody foresaw this: ***" in ended.log


async def test_refused_machine(tmp_path: Path) -> None:
    """Fly's own words on a refusal are in the annotation; server text is in no message and no output."""
    async with stage(tmp_path) as here:
        words = {"error": "invalid config.guest.memory_mb"}
        await here.fly.fault("/machines$", method="POST", action="respond", status=400, body=words, times=9)
        ended = await here.step()
        quiet = await here.step(raise_on_failure="false")
    report = told(ended)
    assert (ended.exit_code, quiet.exit_code) == (1, 0)
    assert quiet.outputs["conclusion"] == "failure"
    assert report["error_type"] == "machine_create_rejected"
    assert "In its own words: invalid config.guest.memory_mb" in ended.of_level("error")[0]
    assert "memory_mb" not in ended.outputs["error_message"]


async def test_dev_only_under_step_debug(tmp_path: Path) -> None:
    """What is for developers is in the job log, and only for those who asked for it."""
    async with stage(tmp_path) as here:
        words = {"error": "unauthorized by policy"}
        await here.fly.fault("/exec$", times=1000, action="respond", status=403, body=words)
        quiet = await here.step()
        loud = await here.step(environ={"RUNNER_DEBUG": "1"})
    assert "policy" not in quiet.log
    [shown] = [line for line in loud.log.splitlines() if line.startswith('| {"type": "machine_exec_refused"')]
    assert json.loads(shown[2:])["dev"] == "unauthorized by policy"
    for ended in (quiet, loud):
        assert "policy" not in json.dumps(told(ended)) + ended.summary


async def test_foreign_image(tmp_path: Path) -> None:
    """A foreign image has no document; its report is valid all the same."""
    async with stage(tmp_path) as here:
        ended = await here.step(image="shell:1")
    report = told(ended)
    assert report["evidence"]["image"] == "foreign"
    assert "Fly's exit event of this machine decided" in ended.summary
