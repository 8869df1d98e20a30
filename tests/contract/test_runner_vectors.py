"""Our reading of the runner agrees with the runner's own tests, and nothing a machine says gets past it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support import runner
from tests.support.engines import ROOT

from flaude_action.publish import set_outputs
from flaude_action.report import Report
from flaude_action.run_report import Outputs
from flaude_action.runner_protocol import command, file_entry, portable
from flaude_action.state import load_state, save_state
from flaude_action.untrusted import MARGIN, margin_lines

if TYPE_CHECKING:
    from pathlib import Path

VECTORS: dict[str, Any] = json.loads((ROOT / "tests/reference/runner-vectors.json").read_text())

# What a stranger would try, beside the vectors themselves.
HOSTILE = [
    "harmless\r::error::x", "\u2028::error::x", "\x0b::set-env name=PATH::x", "\x85##[add-mask]a",
    "\u00a0::stop-commands::set-env", "#\u200b#[error]x", "##\x1b[0m[set-env name=A]b", "\ufeff::error::x",
    "#\x00#[error]x", ":\x1b[31m:error::x", "x\x1b]0;t\x07::error::x", "##[##[error]x", "###[error]x",
    "\x1b]8;;http://a\n::error::x", "::\n::error::", "\u202e::error::x", "\ud800::error::x",
    "| ::error::x", "\r\n\r::echo::junk", "##\u00ad[add-mask]x", "##[group]x", "##[[error]x",
]  # fmt: skip
PIECES = st.sampled_from(
    ["::", "##[", "#", "[", "]", "\r", "\n", "\x1b[0m", "\x1b]", "\x07", "\u200b", "\u2028", " ", "\t",
     "error", "set-env", "add-mask", "stop-commands", "name=A", "%0A", "\x00", "\ufeff", "\u00ad", "\x0b",
     "\x85", "\x1b", "m", "\\"]
)  # fmt: skip
LINES = st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join)
VALUES = st.text(st.characters(codec=None), max_size=40) | st.lists(
    st.sampled_from(["\n", "\r", "\r\n", "flaude_", "<<", "=", "EOF", "a", " "]), max_size=12
).map("".join)


@pytest.mark.parametrize("vector", VECTORS["parse"], ids=lambda vector: vector["line"].strip()[:30])
def test_parse(vector: dict[str, Any]) -> None:
    """Both grammars read the runner's own examples as the runner does."""
    registered = frozenset(vector["registered"])
    found = runner.parse(vector["line"], registered)
    if not vector["ok"]:
        assert found is None
        return
    assert found == runner.Command(vector["command"], vector["data"], vector["properties"])
    one, other = (
        (runner.parse_v1, runner.parse_v2) if "##[" in vector["form"] else (runner.parse_v2, runner.parse_v1)
    )
    assert one(vector["line"], registered) == found
    assert other(vector["line"], registered) is None


@pytest.mark.parametrize("vector", VECTORS["line_column_validation"], ids=lambda vector: vector["note"])
def test_line_column_validation(vector: dict[str, Any]) -> None:
    """Places that contradict themselves are dropped as the runner drops them."""
    found = runner.parse(vector["line"])
    assert found is not None
    assert (found.name, found.data) == (vector["command"], vector["data"])
    assert runner.validated_lines_and_columns(found.properties) == vector["properties_after_validation"]


@pytest.mark.parametrize(
    "vector", VECTORS["command_manager_sequences"], ids=lambda vector: vector["sequence"][0][0]
)
def test_command_manager_sequences(vector: dict[str, Any]) -> None:
    """Lines in order are consumed, refused or passed on as the runner does."""
    log = runner.StepLog()
    for line, outcome in vector["sequence"]:
        if outcome == "throws":
            with pytest.raises(runner.StopTokenRefused):
                log.process(line)
        else:
            assert log.process(line) is outcome
    if "masks" in vector:
        assert sorted(log.masks) == sorted(vector["masks"])
    if vector.get("command_result") == "Failed":
        assert log.failed


@pytest.mark.parametrize("vector", VECTORS["output_rewrites"], ids=lambda vector: vector["line"][:30])
def test_output_rewrites(vector: dict[str, Any]) -> None:
    """The runner breaks its own markers, and so do we."""
    log = runner.StepLog()
    assert log.process(vector["line"]) is False
    assert vector["logged_contains"] in log.shown[0]
    assert "##[" not in margin_lines(vector["line"])[0]


@pytest.mark.parametrize(
    "vector", VECTORS["file_commands"], ids=lambda vector: vector["source"].split("#")[-1]
)
def test_file_commands(vector: dict[str, Any]) -> None:
    """Files are read, or refused, as the runner does."""
    if "error" in vector:
        with pytest.raises(runner.FileCommandError, match=vector["error"]):
            runner.parse_file(vector["content"])
        return
    pairs = runner.parse_file(vector["content"])
    if "pairs_applied" in vector:  # GITHUB_ENV: read, then refused by name
        assert list(pairs) == ["NODE_OPTIONS"]
    else:
        assert pairs == vector["pairs"]


@pytest.mark.parametrize("vector", VECTORS["toolkit_serialise"], ids=lambda vector: vector["output"][:30])
def test_toolkit_serialise(vector: dict[str, Any]) -> None:
    """We write commands as GitHub's own toolkit does, and the runner reads back what was meant."""
    line = command(vector["command"], vector["message"], vector["properties"])
    assert line == vector["output"]
    found = runner.parse(line, frozenset({"some-command"}))
    assert found == runner.Command(vector["command"], vector["message"], vector["properties"])


def vector_lines() -> list[str]:
    lines = [
        vector["line"]
        for key in ("parse", "line_column_validation", "output_rewrites")
        for vector in VECTORS[key]
    ]
    lines += [line for vector in VECTORS["command_manager_sequences"] for line, _ in vector["sequence"]]
    return lines + [vector["output"] for vector in VECTORS["toolkit_serialise"]]


def told(lines: list[str]) -> str:
    """What a report prints for lines of a machine."""
    stdout = io.StringIO()
    Report({}, stdout).machine_lines(lines)
    return stdout.getvalue()


def assert_harmless(output: str) -> None:
    log = runner.StepLog()
    log.read(output)
    assert log.commands == []
    assert log.shown == split(output)
    assert all(line.startswith(MARGIN) and "##[" not in line for line in log.shown)
    assert not any(runner.parse_act(line) for line in output.split("\n"))


def split(output: str) -> list[str]:
    return output.removesuffix("\n").split("\n") if output else []


@pytest.mark.parametrize("line", [*HOSTILE, *vector_lines()])
def test_no_line_of_the_machine_is_a_command(line: str) -> None:
    """Every command in the vectors, and every trick we know, is only text when a machine says it."""
    assert_harmless(told([line]))


@given(st.lists(LINES, max_size=4))
@example(["::error::", "##[error]"])
def test_no_lines_of_the_machine_are_commands(lines: list[str]) -> None:
    """Nor is anything that can be put together from the parts of commands, whatever the reader."""
    assert_harmless(told(lines))


@given(LINES)
def test_no_quoted_text_is_a_command(text: str) -> None:
    """Untrusted text in our own sentences, titles and annotations stays text."""
    stdout = io.StringIO()
    report = Report({"RUNNER_DEBUG": "1"}, stdout)
    report.say(f"It said {text}")
    report.say(text)
    report.quote(text)
    report.debug(text)
    with report.group(text):
        report.annotate("error", text, f"x {text}", file=text, line=3)
    log = runner.StepLog()
    log.read(stdout.getvalue())
    assert [found.name for found in log.commands] == ["group", "error", "endgroup"]
    assert log.commands[1].properties.get("line") == "3"


@given(VALUES)
@example("flaude_")
@example("\n\n")
@example("a\r\nb\r")
@pytest.mark.parametrize("reader", list(runner.READERS))
def test_any_value_survives(reader: runner.Reader, value: str) -> None:
    """An output or a state comes back as it was written, whoever reads it, and brings no other along."""
    content = file_entry("first", value) + file_entry("second", "x")
    assert runner.READERS[reader](content) == {"first": portable(value), "second": "x"}


@given(VALUES)
@pytest.mark.parametrize("reader", list(runner.READERS))
def test_outputs_survive(reader: runner.Reader, tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """All outputs are written, each with its own value, whatever the model has said."""
    file = tmp_path_factory.mktemp("runner") / "output"
    outputs = Outputs(
        conclusion="success", result=value, structured_output={"said": value}, changed_files=(value,)
    )
    set_outputs(Report({"GITHUB_OUTPUT": str(file)}, io.StringIO()), outputs.values())
    found = runner.READERS[reader](file.read_bytes().decode())
    assert list(found) == list(outputs.values())
    assert found["result"] == portable(value)
    assert json.loads(found["structured_output"]) == {"said": value.encode("utf-8", "replace").decode()}


@pytest.mark.parametrize("size", [0, 59_999, 60_000, 60_001, 70_000, 3_000_000])
@pytest.mark.parametrize("reader", list(runner.READERS))
def test_long_outputs_survive(reader: runner.Reader, size: int, tmp_path: Path) -> None:
    """A long value is cut with a note, JSON that does not fit is left empty, and the names stay complete."""
    file = tmp_path / "output"
    outputs = Outputs(
        result="é" * (size // 2) + "x" * (size % 2), structured_output=["x" * size], log_tail="x" * size
    )
    set_outputs(Report({"GITHUB_OUTPUT": str(file)}, io.StringIO()), outputs.values())
    found = runner.READERS[reader](file.read_text())
    assert list(found) == list(outputs.values())
    assert file.stat().st_size < 450_000
    assert ("[cut: " in found["result"]) == (size > 60_000)
    assert found["structured_output"] in ("", json.dumps(["x" * size], separators=(",", ":")))


@given(st.dictionaries(st.sampled_from(["machine", "app", "nonce"]), VALUES, min_size=1))
def test_state_survives(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    """Post finds what main has left, from the runner's file and, where act hands nothing on, from ours."""
    folder = tmp_path_factory.mktemp("runner")
    environ = {"GITHUB_STATE": str(folder / "state"), "GITHUB_RUN_ID": "1", "GITHUB_ACTION": "a"}
    save_state(environ, values)
    content = (folder / "state").read_bytes().decode()
    handed_on = {f"STATE_{name}": value for name, value in runner.parse_file(content).items()}
    expected = {name: portable(value) for name, value in values.items()}
    assert load_state(environ | handed_on) == expected
    assert load_state(environ) == expected
    assert load_state(environ | {"GITHUB_ACTION": "another"}) == {}
