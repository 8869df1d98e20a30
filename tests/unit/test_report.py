"""The one printer: what goes to the step log, the outputs, the summary and the files, and in which form."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import runner

from flaude_action.annotations import MESSAGE_CHARS, Finding, utf16_units
from flaude_action.artifacts import Artifacts
from flaude_action.errors import ConfigError, FlaudeError
from flaude_action.log_caps import Cap, LogCaps
from flaude_action.log_excerpt import TAIL_LINES
from flaude_action.publish import add_summary, publish, set_outputs
from flaude_action.redaction import bared
from flaude_action.report import ANNOTATIONS, Report
from flaude_action.run_report import Outputs, RunReport, Warned, rendered
from flaude_action.untrusted import LINE_CHARS, TEXT_CHARS

SECRET = "sk-ant-api03-0123456789"
EVIDENCE = {
    "image": "ours", "guest_result": False, "api_status": "stopped", "log_marker": None,
    "api_event": {"type": "exit", "exit_code": 1, "oom_killed": False},
    "platform_log": None, "own_stop": None, "trouble": "", "log_complete": True,
}  # fmt: skip
MACHINE = {
    "cpu_kind": "shared", "cpus": 2, "memory_mb": 4096, "seconds": 71.2, "prices_date": "2026-11-21",
    "prices_url": "https://fly.io/docs/about/pricing/",
}  # fmt: skip


class Step:
    """A report with a step log to look into and the runner's files in a folder."""

    def __init__(self, folder: Path, caps: LogCaps | None = None, **environ: str) -> None:
        self.folder = folder
        self.stdout = io.StringIO()
        files = {
            name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_STATE")
        }
        self.report = Report(files | environ, self.stdout, caps)

    @property
    def log(self) -> runner.StepLog:
        """What the runner makes of everything printed so far."""
        log = runner.StepLog()
        log.read(self.stdout.getvalue())
        return log

    def outputs(self) -> dict[str, str]:
        return runner.parse_file((self.folder / "GITHUB_OUTPUT").read_text())

    def everything(self) -> str:
        """All that was printed and written anywhere, but for the masks, which have to name what they hide."""
        shown = [line for line in self.stdout.getvalue().split("\n") if not line.startswith("::add-mask::")]
        files = [path.read_text() for path in self.folder.rglob("*") if path.is_file()]
        return "\n".join(shown + files)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def failed(type: str = "agent_error", **fields: str) -> RunReport:  # noqa: A002
    return RunReport(errors=(FlaudeError(type, **fields),))


def test_masks(step: Step) -> None:
    """Every line of every secret is masked once, escaped, and lines too short to be secrets are not."""
    step.report.mask([SECRET, "{\n  50%-of-it\n}\r\nsecond", SECRET, "abc", ""])
    assert step.log.masks == [SECRET, "50%-of-it", "second"]
    assert step.stdout.getvalue().split("\n")[1] == "::add-mask::50%25-of-it"


def test_secrets_are_nowhere(tmp_path: Path) -> None:
    """Whatever holds a secret, in whatever place it is told, the secret is not in it."""
    step = Step(tmp_path, RUNNER_DEBUG="1")
    report = step.report
    report.mask([SECRET])
    with Artifacts(tmp_path, "a") as artifacts, artifacts.open("machine.log") as log:
        report.log_to(log)
        report.say(f"say {SECRET}")
        report.quote(f"quote {SECRET[:8]}\u200b{SECRET[8:]}")
        report.machine_lines([f"line {SECRET}", SECRET[:9], SECRET[9:]])
        report.annotate("notice", f"title {SECRET}", f"text {SECRET}", file=SECRET)
        with report.group(SECRET):
            report.debug(SECRET)
        error = FlaudeError("agent_error", f"message {SECRET}", details=SECRET, dev=SECRET, hint=SECRET)
        error.meta["x"] = SECRET
        outputs = Outputs(
            result=f"{SECRET}_*{SECRET}",
            structured_output={SECRET: [SECRET]},
            changed_files=(SECRET,),
            image=SECRET,
        )
        publish(
            report,
            RunReport(
                outputs, errors=(error,), warnings=(Warned("tool_oom", SECRET),), notices=(SECRET,),
                line=SECRET, log_tail=report.tail(10), excerpt=(SECRET,),
                machine={"seconds": None, "x": [SECRET]},
                findings=(Finding(SECRET, 1, None, SECRET),), changes=({"path": SECRET, "status": ""},),
            ),
            artifacts,
        )  # fmt: skip
    text = step.everything().replace("\\", "")
    assert SECRET not in bared(text)
    assert text.count("***") > 20


def test_text_that_is_no_unicode(step: Step, tmp_path: Path) -> None:
    """Half a surrogate pair (a cut emoji, a name in another encoding) keeps nothing from being told."""
    outputs = Outputs(
        result="cut \ud83d", changed_files=("caf\udce9.txt",), structured_output={"a": "\ude00"}
    )
    changes = ({"path": "caf\udce9.txt", "status": "added", "size": 1},)
    with Artifacts(tmp_path, "a") as artifacts:
        publish(step.report, RunReport(outputs, changes=changes), artifacts)
    report = json.loads((tmp_path / ".flaude/a/report.json").read_text())
    assert report["changed_files"] == ["caf?.txt"]
    assert json.loads(step.outputs()["changed_files"]) == ["caf?.txt"]
    assert report["result"] == step.outputs()["result"] == "cut ?"


@pytest.mark.parametrize("secret", ["line", "model", "error", "type", "state", "failure", "user", "none"])
def test_a_secret_that_is_a_word_of_ours(step: Step, tmp_path: Path, secret: str) -> None:
    """What workflows compare and what holds the report together stays, whatever word a secret is."""
    step.report.mask([secret])
    error = FlaudeError("model_auth_failed", details=f"It said {secret}.")
    told = RunReport(Outputs(result=f"a {secret}"), errors=(error,), machine=MACHINE, evidence=EVIDENCE)
    with Artifacts(tmp_path, "a") as artifacts:
        publish(step.report, told, artifacts)
    report = json.loads((tmp_path / ".flaude/a/report.json").read_text())
    outputs = step.outputs()
    assert list(report) == list(told.document())
    assert report["errors"][0]["type"] == outputs["error_type"] == "model_auth_failed"
    assert (outputs["conclusion"], outputs["retryable"]) == ("failure", "user")
    assert outputs["exit_code_source"] == "none"
    assert (outputs["result"], outputs["report_file"]) == ("a ***", ".flaude/a/report.json")
    assert f"said {secret}" not in json.dumps(report)
    assert step.log.commands[-1].name == "error"


def test_own_words(step: Step) -> None:
    """Our own lines have no margin, unless they would be a command."""
    step.report.say("a\n::error::b\n  ::error::c")
    assert step.log.shown == ["a", "| ::error::b", "|   ::error::c"]
    assert step.log.commands == []


def test_machine_lines(step: Step, tmp_path: Path) -> None:
    """A line goes to step log, file and tail; only the file has it whole, and all have the margin."""
    long = "x" * (LINE_CHARS + 7)
    with (tmp_path / "log").open("wb") as file:
        step.report.log_to(file)
        step.report.machine_lines(["a\rb", long])
        step.report.machine_lines([])
        step.report.log_to(None)
        step.report.machine_lines(["after"])
    assert (tmp_path / "log").read_text() == f"| a\n| b\n| {long}\n"
    assert step.log.shown == ["| a", "| b", f"| {long}"[:LINE_CHARS] + " … [9 more characters]", "| after"]
    assert step.report.tail(3)[0] == "| b"
    assert step.report.tail(1) == ("| after",)
    assert step.report.tail(0) == ()


def test_the_tail_is_bounded(step: Step) -> None:
    """However many lines come, only the last are kept, each cut."""
    step.report.machine_lines([f"{number} {'x' * 5000}" for number in range(TAIL_LINES * 2)])
    tail = step.report.tail(10**6)
    assert len(tail) == TAIL_LINES
    assert tail[-1].startswith(f"| {TAIL_LINES * 2 - 1} x")
    assert max(map(len, tail)) < 1100


def test_a_secret_wrapped_over_lines_is_nowhere(step: Step) -> None:
    """A secret that lies over a line's end is taken out: GitHub's masks would not find it."""
    step.report.mask([SECRET])
    step.report.machine_lines([f"x{SECRET[:9]}", f"{SECRET[9:]}y"])
    assert step.report.tail(2) == ("| x***", "| ***y")
    assert "| ***y" in step.log.shown


def test_blank_lines_stay(step: Step) -> None:
    """Wherever a page ends, and wherever its lines are too many to be handled at once."""
    for lines in (["a", ""], ["", "b"], [""] * 3, [*"cd", "x" * 20_000, "", "e"]):
        step.report.machine_lines(lines)
    shown = [line[2:3] for line in step.log.shown]
    assert shown == ["a", "", "", "b", "", "", "", "c", "d", "x", "", "e"]


def test_long_lines_are_cut_early(step: Step, tmp_path: Path) -> None:
    """More of a line than anybody looks at goes nowhere, but is counted; the next line is there."""
    with (tmp_path / "log").open("wb") as file:
        step.report.log_to(file)
        step.report.machine_lines(
            ["x" * (TEXT_CHARS + 5), "\u20ac" * TEXT_CHARS, "\n" * (TEXT_CHARS + 7), "end"]
        )
        step.report.log_to(None)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == "| " + "x" * TEXT_CHARS + " … [5 more characters]"
    assert lines[1] == "| " + "\u20ac" * TEXT_CHARS
    assert lines[-2:] == ["|  … [7 more characters]", "| end"]
    step.report.quote("y" * (TEXT_CHARS + 5))
    assert (
        step.log.shown[-1]
        == "| " + "y" * (LINE_CHARS - 2) + f" … [{TEXT_CHARS + 24 - LINE_CHARS} more characters]"
    )


@pytest.mark.parametrize("size", range(1, len(SECRET)))
@pytest.mark.parametrize("wrap", ["", "\u200b", " "])
def test_a_secret_is_not_left_in_part_where_a_line_is_cut(step: Step, size: int, wrap: str) -> None:
    """Neither its beginning before the cut, nor its end in the line after the one that was cut."""
    step.report.mask([SECRET])
    begun, ended = wrap.join(SECRET[:size]), SECRET[size:]
    step.report.machine_lines(["x" * (TEXT_CHARS - len(begun)) + begun + "y" * 9, "a"])
    step.report.quote("x" * (TEXT_CHARS - len(begun)) + begun + "y" * 9)
    step.report.machine_lines(["x" * TEXT_CHARS + begun, ended + "z", "b"])
    shown = "\n".join([*step.log.shown, *step.report.tail(10)])
    assert not any(SECRET[:length] in bared(shown) for length in range(8, len(SECRET)))
    assert SECRET[size:] + "z" not in shown
    assert "| b" in shown


def test_a_tool_s_text_is_shown_from_its_end(step: Step) -> None:
    """Its last lines, without the end of a secret that began before what is looked at."""
    step.report.mask([SECRET])
    text = "x" * TEXT_CHARS + SECRET[:9] + "\n" + SECRET[9:] + "\n" + "y" * (TEXT_CHARS - len(SECRET[9:]) - 1)
    assert step.report.safe_lines(text)[0] == "***"
    assert step.report.safe_lines("\n".join(map(str, range(10**6))))[-1] == str(10**6 - 1)


SMALL = LogCaps(file=Cap(2000, 1000), shown=Cap(1000, 400, 10), quoted=Cap(500, 100, 3))


@pytest.mark.parametrize("pages", [1, 50, 1000])
@pytest.mark.parametrize("word", ["y", "\u20ac\u20ac\u20ac", "\U0001f600" * 300], ids=["y", "euro", "long"])
def test_a_log_that_does_not_end(tmp_path: Path, word: str, pages: int) -> None:
    """File and step log have its beginning and its end, each within its cap, and say once that it is cut."""
    step = Step(tmp_path, SMALL)
    lines = [f"{word}{number}" for number in range(1000)]
    with (tmp_path / "log").open("wb") as file:
        step.report.log_to(file)
        for start in range(0, 1000, 1000 // pages):
            step.report.machine_lines(lines[start : start + 1000 // pages])
        step.report.log_to(None)
    written = (tmp_path / "log").read_bytes()
    assert len(written) < 3000 + 100
    text = written.decode().splitlines()
    (note,) = [line for line in text if "are left out here" in line]
    at = text.index(note)
    left = int(note.split("[flaude-action: ")[1].split()[0])
    assert [line[2:] for line in text[:at] + text[at + 1 :]] == lines[:at] + lines[at + left :]
    shown = "\n".join(step.log.shown)
    assert len(shown.encode()) < 1400 + 500
    for said in ("too long for its file", "too long for this page", "lines are not shown here"):
        assert shown.count(said) == 1
    if len(word) < 300:
        assert f"| {lines[0]}\n" in shown
        assert step.log.shown[-1] == f"| {lines[-1]}"
    assert step.report.tail(1)[0].startswith(f"| {word}"[:50])


def test_a_log_within_its_cap_is_whole(tmp_path: Path) -> None:
    """Nothing is said of it, and a second log has its own room."""
    step = Step(tmp_path, SMALL)
    for name in ("a", "b"):
        with (tmp_path / name).open("wb") as file:
            step.report.log_to(file)
            step.report.machine_lines(["x" * 97] * 10)
            step.report.log_to(None)
        assert (tmp_path / name).read_text() == f"| {'x' * 97}\n" * 10
    assert step.log.shown == [f"| {'x' * 97}"] * 20


def test_quotes_that_do_not_end(tmp_path: Path) -> None:
    """A build's output has a cap of its own, with its last lines at the end of its group; after it there is
    room again."""
    step = Step(tmp_path, SMALL)
    with step.report.group("Build"):
        for number in range(1000):
            step.report.quote(f"step {number}")
    step.report.quote("after")
    assert "| step 0" in step.log.shown
    assert step.log.shown[-4:] == ["| step 997", "| step 998", "| step 999", "| after"]
    assert len(step.stdout.getvalue()) < 1000


def test_annotations(step: Step) -> None:
    """An annotation has its place, keeps its line ends, and is cut at what the runner takes."""
    step.report.annotate("warning", "A: title, 100%", "one\ntwo", file="a,b.py", line=3)
    step.report.annotate("error", "t", "x" * 5000)
    warning, error = step.log.commands
    assert warning.name == "warning"
    assert warning.data == "one\ntwo"
    assert warning.properties == {"file": "a,b.py", "line": "3", "title": "A: title, 100%"}
    assert len(error.data) == MESSAGE_CHARS
    step.report.annotate("error", "t", "\U0001f4a5" * 5000)
    assert utf16_units(step.log.commands[-1].data) == MESSAGE_CHARS - 1


def test_annotations_over_the_quota_are_lines(step: Step) -> None:
    """The runner would drop an eleventh error silently; it becomes a line. Each level has its quota."""
    for number in range(ANNOTATIONS + 2):
        step.report.annotate("error", "t", f"problem {number}")
    step.report.annotate("notice", "t", "x")
    assert [command.name for command in step.log.commands] == ["error"] * ANNOTATIONS + ["notice"]
    assert step.log.shown == ["error: t: problem 10", "error: t: problem 11"]


def test_groups(step: Step) -> None:
    """A group is closed also when its content fails."""
    with pytest.raises(KeyError), step.report.group("Setup\n::error::x"):
        raise KeyError
    assert [(command.name, command.data) for command in step.log.commands] == [
        ("group", "Setup ::error::x"), ("endgroup", ""),
    ]  # fmt: skip


def test_debug_needs_step_debug(tmp_path: Path) -> None:
    """What may confuse is told to those who asked for it."""
    quiet, loud = Step(tmp_path), Step(tmp_path, RUNNER_DEBUG="1")
    for step in (quiet, loud):
        publish(step.report, failed(dev="the server's words"))
    assert quiet.log.shown == []
    told = json.loads(loud.log.shown[0].removeprefix("| "))
    assert told["dev"] == "the server's words"
    assert told.keys() - {"dev"} == {
        "type",
        "message",
        "details",
        "hint",
        "phase",
        "retryable",
        "meta",
        "ref",
    }


def test_problems(step: Step) -> None:
    """Each problem of a preflight has its annotation, with what to type."""
    problems = [
        ConfigError("config_invalid", "Input `a`: x.", hint="Write b."),
        ConfigError("prompt_missing"),
    ]
    publish(step.report, RunReport(errors=tuple(ConfigError.of(problems).problems)))
    first, second = step.log.commands
    assert first.properties["title"] == "An input is not valid"
    what, hint, more, reference = first.data.split("\n")
    assert what == "Input `a`: x."
    assert hint == "Your turn: Write b."
    assert more.endswith("/docs/failures.md#config_invalid")
    assert reference == f"Reference: {problems[0].ref}"
    assert second.properties["title"] == "There is no prompt"


def test_publish_failure(step: Step, tmp_path: Path) -> None:
    """A failure is in the log, the outputs, the summary and report.json, with one reference in all."""
    with Artifacts(tmp_path, "a") as artifacts:
        report = publish(step.report, failed(details="After 3 tries.", phase="agent"), artifacts)
    reference = report.errors[0].ref
    outputs = step.outputs()
    assert outputs["conclusion"] == "failure"
    assert outputs["error_type"] == "agent_error"
    assert outputs["error_message"] == "Claude Code ended with an error. After 3 tries."
    assert (outputs["error_phase"], outputs["retryable"], outputs["error_ref"]) == ("agent", "no", reference)
    assert outputs["report_file"] == ".flaude/a/report.json"
    document = json.loads((tmp_path / outputs["report_file"]).read_text())
    assert document["errors"][0]["ref"] == reference
    assert document["schema"] == 1
    assert document["oom_killed"] is False
    assert reference in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert reference in step.log.commands[0].data


@pytest.mark.parametrize("size", [400, 401])
def test_own_words_once(step: Step, size: int) -> None:
    """The annotation is in the log too: what it quotes whole is not said again, what it cuts is."""
    words = ("Credit balance is too low. " * 20)[:size]
    publish(step.report, replace(failed(), line=words))
    assert step.log.shown == ([] if size == 400 else [f"| {words}"])
    assert "In its own words: Credit balance" in step.log.commands[0].data


def test_lead_and_places(step: Step) -> None:
    """The failure comes first, then the places it named, never more than ten errors in all."""
    findings = tuple(Finding("src/a.c", number, None, f"error {number}") for number in range(1, 14))
    publish(
        step.report, replace(failed("setup_command_failed"), findings=findings, excerpt=("make: *** [all]",))
    )
    lead, *places = step.log.commands
    assert lead.data.endswith("\nLast lines of the log:\nmake: *** [all]")
    assert "file" not in lead.properties
    assert [place.properties["line"] for place in places] == [str(number) for number in range(1, 10)]
    assert places[0].properties["file"] == "src/a.c"
    assert step.log.shown == [f"error: The setup command failed: error {number}" for number in range(10, 14)]


def test_hints_name_the_app(step: Step) -> None:
    """What is to be typed has the app's name in it."""
    step.report.app = "my-app"
    publish(step.report, replace(failed("machine_auth_failed"), warnings=(Warned("cleanup_failed"),)))
    assert "-a my-app --expiry" in step.outputs()["error_hint"]
    for command in step.log.commands:
        assert "-a my-app" in command.data
        assert "<app>" not in command.data


def test_outputs_are_always_all_set(step: Step) -> None:
    """Every output is written, what does not apply as empty text, values that are no text as JSON."""
    given = Outputs(exit_code=0, oom_killed=True, structured_output={"é": [1, None]})
    set_outputs(step.report, replace(given, phase_seconds={"boot": 1.5}).values())
    found = step.outputs()
    assert list(found) == list(Outputs().values())
    assert (found["exit_code"], found["oom_killed"], found["signal"]) == ("0", "true", "")
    assert found["structured_output"] == '{"é":[1,null]}'
    assert found["phase_seconds"] == '{"boot":1.5}'
    assert found["changed_files"] == "[]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0421, "0.0421"), (0.000016, "0.000016"), (2.0, "2"), (0.0, "0"), (True, "true"), (None, "")],
)
def test_numbers_as_outputs(value: object, text: str) -> None:
    """An amount of money can be read by anything, however small it is."""
    assert rendered(value) == text


def test_one_place_that_fails_does_not_silence_the_others(step: Step, tmp_path: Path) -> None:
    """Without room for the outputs file, the summary and report.json are written all the same."""
    (tmp_path / "GITHUB_OUTPUT").mkdir()
    with Artifacts(tmp_path, "a") as artifacts:
        publish(step.report, failed(), artifacts)
        (tmp_path / artifacts.path("report.json")).unlink()
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert any("GITHUB_OUTPUT could not be written (Is a directory)." in line for line in step.log.shown)


def test_a_state_that_cannot_be_written_is_told(step: Step, tmp_path: Path) -> None:
    """Only `post` needs it, when all else has failed: the step goes on without."""
    (tmp_path / "GITHUB_STATE").mkdir()
    step.report.save_state({"nonce": "1"})
    assert step.log.shown == ["GITHUB_STATE could not be written (Is a directory)."]


def test_the_summary_is_added_to(step: Step, tmp_path: Path) -> None:
    """What stands in the summary stays, and what would be too long for the runner is cut."""
    (tmp_path / "GITHUB_STEP_SUMMARY").write_text("before\n")
    add_summary(step.report, "x" * 2_000_000)
    text = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert text.startswith("before\nxxx")
    assert len(text) < 1024 * 1024


def test_without_a_runner_nothing_is_written() -> None:
    """Outside of a workflow a report still prints, and needs none of the runner's files."""
    stdout = io.StringIO()
    report = Report({}, stdout)
    report.save_state({"machine": "1"})
    publish(report, failed())
    assert stdout.getvalue().startswith("::error title=Claude Code failed::")


def test_a_full_disk_ends_the_log_file_only(step: Step) -> None:
    """A log file that cannot be written is told once; step log and tail go on."""
    with Path("/dev/full").open("wb", buffering=0) as file:
        step.report.log_to(file)
        step.report.machine_lines(["a"])
        step.report.machine_lines(["b"])
    assert step.log.shown == ["The log file ends here (No space left on device).", "| a", "| b"]
    assert step.report.tail(2) == ("| a", "| b")


class Closed(io.StringIO):
    """A step log that nobody reads any more."""

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_closed_stdout_is_survived(tmp_path: Path) -> None:
    """When nobody reads the step log any more, the outputs are written nevertheless."""
    report = Report({"GITHUB_OUTPUT": str(tmp_path / "output")}, Closed())
    report.say("x")
    publish(report, failed())
    assert runner.parse_file((tmp_path / "output").read_text())["error_type"] == "agent_error"
