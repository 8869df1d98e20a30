"""What a step tells of a run's outcome: which warnings, with which hints."""

from __future__ import annotations

import io
import json
import os
import resource
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flaude_action.artifacts import Artifacts
from flaude_action.evidence import Evidence, ExitEvent
from flaude_action.inputs import Inputs
from flaude_action.kept_files import EVENT_MAX_BYTES, Kept, keep_patch, keep_transcript, redacted_copy
from flaude_action.outcome import Outcome
from flaude_action.publish import publish
from flaude_action.report import Report
from flaude_action.step import Step
from flaude_action.step_report import report_outcome
from flaude_action.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flaude_action.run_report import RunReport

GOOD = {"ok": True, "exit_code": 0, "error": None, "finished_at": 100.0}
BY_DOCUMENT = Evidence(True, result=GOOD)
BY_EVENT = Evidence(False, exit=ExitEvent(exit_code=0))
BY_NOTHING = Evidence(False, marker=0, marker_is_last=True, gone=True)
CALM = "The verdict does not depend on it."


def outcome_of(evidence: Evidence) -> Outcome:
    return Outcome(judge(evidence), evidence, "id1", "ams", "image:1", cleanup="destroyed")


def told(outcome: Outcome, folder: Path) -> RunReport:
    """The report of the outcome as it is published, for the app `my-app`."""
    files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    report = Report(files, io.StringIO())
    report.app = "my-app"
    with Artifacts(folder, "fix") as artifacts:
        kept = Kept()
        keep_patch(kept, outcome.files, artifacts)
        made = report_outcome(outcome, kept, report, artifacts, Inputs(), image_source="release", placed=True)
        return publish(report, made, artifacts)


@pytest.mark.parametrize(
    ("evidence", "calm"), [(BY_DOCUMENT, True), (BY_EVENT, True), (BY_NOTHING, False)]
)  # fmt: skip
def test_a_log_that_may_not_be_whole(tmp_path: Path, evidence: Evidence, calm: bool) -> None:
    """That the verdict does not depend on it is said where it does not; no token is to blame."""
    (warning,) = told(outcome_of(evidence), tmp_path).warnings
    assert (warning.type, CALM in warning.details) == ("log_stream_lost", calm)
    assert "token" not in warning.hint


def test_a_log_that_was_refused(tmp_path: Path) -> None:
    """The token is to blame; annotation, summary and report give one hint, with the app's name in it."""
    (warning,) = told(replace(outcome_of(BY_DOCUMENT), log_refused="HTTP 401"), tmp_path).warnings
    assert warning.details == f"The logs host said HTTP 401. {CALM}"
    assert warning.hint == "Give the token the right to read logs: `fly tokens create deploy -a my-app`."
    summary = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert "`fly tokens create deploy -a my-app`" in summary
    assert "<app>" not in summary


def test_a_machine_that_never_ran_has_no_log(tmp_path: Path) -> None:
    """Nothing is said of a log that there cannot be."""
    assert told(outcome_of(Evidence(True, state="failed", never_started=True)), tmp_path).warnings == ()


def test_a_machine_that_may_be_left(tmp_path: Path) -> None:
    """The command that ends it has the app and the machine in it."""
    evidence = replace(BY_DOCUMENT, log_complete=True)
    (warning,) = told(replace(outcome_of(evidence), cleanup="leaked:id1"), tmp_path).warnings
    assert warning.hint.endswith("`fly machine destroy --force -a my-app id1`.")


@pytest.mark.parametrize("evidence", [Evidence(True, state="failed"), Evidence(False, gone=True)])
def test_an_image_that_fly_cannot_pull(tmp_path: Path, evidence: Evidence) -> None:
    """Where nothing ever ran, the image comes first in what to do; else it is not spoken of."""
    never = outcome_of(replace(evidence, never_started=True))
    assert told(never, tmp_path).outputs.error_hint.startswith("Check that Fly can pull `image:`")
    assert "image" not in told(outcome_of(evidence), tmp_path).outputs.error_hint


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Inside, no file grows beyond `size` bytes, as on a disk that is about to be full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def with_files(outcome: Outcome, folder: Path) -> Outcome:
    """The outcome with a patch and a transcript of 64 KiB each."""
    files = {name: folder / name for name in ("patch", "transcript", "changeset")}
    for file in files.values():
        file.write_text("+0123456789abcdef\n" * 4000)
    files["changeset"].write_text(json.dumps({"files": [{"path": "a", "status": "added", "size": 1}]}))
    return replace(outcome, files=files)


def test_work_that_could_not_be_kept_is_no_success(tmp_path: Path) -> None:
    """Without room for the patch on the runner the step fails, says so, and leaves no half of it."""
    outcome = with_files(outcome_of(replace(BY_DOCUMENT, log_complete=True)), tmp_path)
    with small_disk(32768):
        report = told(outcome, tmp_path)
    (error,) = report.errors
    assert (report.outputs.conclusion, error.type) == ("failure", "collect_failed")
    assert "`patch_file` could not be written into the workspace (File too large)." in error.details
    assert "runner's disk" in error.hint
    assert (report.outputs.patch_file, report.outputs.execution_file) == ("", "")
    assert report.outputs.cleanup == "destroyed"
    assert sorted(os.listdir(tmp_path / ".flaude/fix")) == ["report.json"]  # noqa: PTH208
    assert "collect_failed" in (tmp_path / "GITHUB_OUTPUT").read_text()


def test_a_transcript_that_could_not_be_kept_is_noted(tmp_path: Path) -> None:
    """The work itself is there: the run stays what it was."""
    outcome = with_files(outcome_of(replace(BY_DOCUMENT, log_complete=True)), tmp_path)
    outcome.files["patch"].write_text("+1")
    with small_disk(32768):
        report = told(outcome, tmp_path)
    assert (report.outputs.conclusion, report.errors) == ("success", ())
    assert report.outputs.patch_file == ".flaude/fix/changes.patch"
    assert "`execution_file` could not be written into the workspace (File too large)." in report.notices


def test_a_failure_stays_the_failure_it_was(tmp_path: Path) -> None:
    """What went wrong first decides; that its patch is lost as well is noted."""
    failed = replace(BY_DOCUMENT, result={**GOOD, "ok": False, "error": {"type": "agent_error"}})
    outcome = with_files(outcome_of(replace(failed, log_complete=True)), tmp_path)
    with small_disk(32768):
        report = told(outcome, tmp_path)
    assert [error.type for error in report.errors] == ["agent_error"]
    assert "`patch_file` could not be written into the workspace (File too large)." in report.notices


def test_a_log_file_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    """What is left in its buffer fails when it is closed; that is told, once."""
    stdout = io.StringIO()
    report = Report({}, stdout)
    with Artifacts(tmp_path, "fix") as artifacts:
        step = Step(report, {}, artifacts)
        with small_disk(100), step.logging(artifacts):
            report.machine_lines(["x" * 200])
    assert stdout.getvalue().splitlines() == ["| " + "x" * 200, "The log file ends here (File too large)."]
    assert step.log_file == ".flaude/fix/machine.log"


def test_a_line_that_is_too_long_is_counted(tmp_path: Path) -> None:
    """It is not handed on in part, where half of a secret could stand at its end; the others are."""
    source, long = tmp_path / "source", '{"a":"' + "x" * EVENT_MAX_BYTES + '"}'
    fits = '{"a":"' + "x" * (EVENT_MAX_BYTES - 8) + '"}'
    source.write_text(f'{{"n":1}}\n{long}\n{fits}\n{long * 3}\n{{"n":2}}\n{long}')
    with Artifacts(tmp_path, "fix") as artifacts:
        copy = tmp_path / redacted_copy(source, "transcript.jsonl", Report({}, io.StringIO()), artifacts)
    cut = [{"type": "flaude", "subtype": "line_cut", "bytes": size * len(long)} for size in (1, 3, 1)]
    lines = [json.loads(line) for line in copy.read_text().splitlines()]
    assert lines == [{"n": 1}, cut[0], json.loads(fits), cut[1], {"n": 2}, cut[2]]


def test_a_cancelled_step_waits_for_no_long_transcript(tmp_path: Path) -> None:
    """What is no work is given up, and that is told; a short transcript costs nobody any time."""
    outcome = with_files(outcome_of(replace(BY_DOCUMENT, log_complete=True)), tmp_path)
    for size, kept in ((EVENT_MAX_BYTES, True), (2 * EVENT_MAX_BYTES, False)):
        outcome.files["transcript"].write_text('{"n":1}\n' * (size // 8))
        given = Kept()
        with Artifacts(tmp_path, "fix") as artifacts:
            keep_patch(given, outcome.files, artifacts)
            keep_transcript(given, outcome.files, Report({}, io.StringIO()), artifacts, lambda: True)
        assert (tmp_path / ".flaude/fix/transcript.jsonl").exists() == kept
        assert given.failure() is None
        assert given.notes(None) == (
            []
            if kept
            else ["`execution_file` was not written: there was no time to take the secrets out of it."]
        )
        assert "patch_file" in given.paths


def test_a_patch_without_the_list_of_files_is_kept(tmp_path: Path) -> None:
    """What came whole is handed on, and what is missing makes the step red."""
    changed = {**GOOD, "changeset": {"files": 1, "paths": ["a"]}}
    lost = outcome_of(replace(BY_DOCUMENT, result=changed, work_lost=True, log_complete=True))
    outcome = replace(
        with_files(lost, tmp_path), problems=("The file 'changeset' could not be fetched whole.",)
    )
    del outcome.files["changeset"]
    report = told(outcome, tmp_path)
    (error,) = report.errors
    assert (report.outputs.conclusion, error.type) == ("failure", "collect_failed")
    assert error.details == "The file 'changeset' could not be fetched whole."
    assert report.notices == ()
    assert report.outputs.changed_files == ("a",)
    assert (tmp_path / report.outputs.patch_file).read_bytes() == outcome.files["patch"].read_bytes()


def test_a_failed_run_with_a_credential_in_its_change(tmp_path: Path) -> None:
    """It stays the failure it was; that its patch is not handed on, and why, is a warning."""
    failed = replace(BY_DOCUMENT, result={**GOOD, "ok": False, "error": {"type": "agent_error"}})
    outcome = outcome_of(replace(failed, log_complete=True, secret_in_changes=True))
    report = told(replace(outcome, secret_in=("a.txt",)), tmp_path)
    assert [error.type for error in report.errors] == ["agent_error"]
    (warning,) = report.warnings
    assert (warning.type, warning.details) == ("secret_in_changes", "It stands in `a.txt`.")
