"""Tell a finished step everywhere, from one redacted document: annotations, `report.json`, outputs, summary.

What there is to tell is `run_report`'s, what annotations and the summary say of it `annotations`' and
`summary`'s; printing and the runner's files are `report`'s.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flaude_action.annotations import LINE_CHARS, error_message, warning_message
from flaude_action.catalog import CATALOG
from flaude_action.run_report import for_app, redacted, rendered
from flaude_action.runner_protocol import VALUE_BYTES, file_entry, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from flaude_action.artifacts import Artifacts
    from flaude_action.report import Report
    from flaude_action.run_report import RunReport

REPORT_FILE = "report.json"
OUTPUTS_BYTES = 400_000
"""All outputs of one step; the job may have 1 MB, counted in UTF-16, and has other steps as well."""
SUMMARY_BYTES = 900_000
"""The runner refuses summaries over 1 MiB as a whole."""


def publish(report: Report, told: RunReport, artifacts: Artifacts | None = None) -> RunReport:
    """Tell it all; returns the report complete.

    A place that fails is said and does not keep the others from being told.
    """
    from flaude_action.summary import summary  # needed at the end only, and the start of a run is timed

    name = artifacts.path(REPORT_FILE) if artifacts else ""
    told = told.complete(report_file=name, app=report.app)
    document = redacted(told.document(), report.redact_json)
    _annotate(report, document)
    if not told.errors or len(told.line) > LINE_CHARS:  # else the annotation has quoted it whole
        report.quote(told.line)
    for error in told.errors:
        report.debug(json.dumps(report.redact_json(error.as_json(debug=True)), ensure_ascii=False))
    if artifacts is not None:
        text = json.dumps(document, indent=1, ensure_ascii=False)
        with report.told_if_it_fails(name):
            artifacts.write(REPORT_FILE, text.encode("utf-8", "replace"))
    set_outputs(report, {output: document[output] for output in told.outputs.values()})
    add_summary(report, summary(document))
    return told


def _annotate(report: Report, told: Mapping[str, Any]) -> None:
    """The failure first, then its places, the other problems of a preflight, and what did not decide."""
    errors = told["errors"]
    for index, error in enumerate(errors):
        shown = (told["line"], told["excerpt"]) if index == 0 else ()
        report.annotate("error", CATALOG[error["type"]].title, error_message(error, *shown))
    for finding in told["findings"]:
        title = CATALOG[errors[0]["type"]].title
        place = {name: finding[name] for name in ("file", "line", "column")}
        report.annotate("error", title, finding["message"], **place)
    for warning in told["warnings"]:
        warn(report, **warning)


def warn(report: Report, type: str, details: str = "", hint: str = "") -> None:  # noqa: A002 - the catalog's word
    """A warning of the catalog, with its hint unless another is given."""
    kind = CATALOG[type]
    told = warning_message(type, details, for_app(hint or kind.hint, report.app))
    report.annotate("warning", kind.title, told)


def set_outputs(report: Report, values: Mapping[str, Any]) -> None:
    """Write `GITHUB_OUTPUT`. A value that is too long is cut with a note; JSON is left empty instead."""
    left, entries = OUTPUTS_BYTES, []
    for name, value in values.items():
        text = rendered(value)
        if _bytes(text) > min(VALUE_BYTES, left):
            text = shortened(text) if isinstance(value, str) and left > VALUE_BYTES else ""
            report.say(f"Output `{name}` is too long and was {'cut' if text else 'left empty'}.")
        left -= _bytes(text)
        entries.append(file_entry(name, text))
    report.append("GITHUB_OUTPUT", "".join(entries))


def add_summary(report: Report, markdown: str) -> None:
    """Add Markdown, its secrets already taken out, to what the step summary holds so far."""
    report.append("GITHUB_STEP_SUMMARY", shortened(markdown, SUMMARY_BYTES))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
