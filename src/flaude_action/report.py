"""Report: owns stdout and the runner's files; nothing else in this package prints.

Secrets are told to the runner before anything is printed, and every line that came from elsewhere passes
through `untrusted` and `redaction` here, so that no caller has to remember it. What there is to tell is
`run_report`'s, the Markdown `summary`'s, the folder for files `artifacts`'.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flaude_action.annotations import MESSAGE_CHARS, error_message, warning_message
from flaude_action.catalog import CATALOG
from flaude_action.log_excerpt import LogExcerpt
from flaude_action.redaction import SHORTEST, Redactor
from flaude_action.run_report import for_app, redacted, rendered
from flaude_action.runner_protocol import VALUE_BYTES, command, file_entry, shortened
from flaude_action.state import save_state
from flaude_action.untrusted import MARGIN, cut, margin_lines, one_line, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO, TextIO

    from flaude_action.artifacts import Artifacts
    from flaude_action.run_report import RunReport

REPORT_FILE = "report.json"
Level = Literal["error", "warning", "notice"]

ANNOTATIONS = 10
"""The runner keeps this many of each level per step and drops the rest without a word."""
TAIL_LINE_CHARS = 1000
EXCERPT_LINES = 15
"""As many lines of what failed are shown beside what we say of it."""
OUTPUTS_BYTES = 400_000
"""All outputs of one step; the job may have 1 MB, counted in UTF-16, and has other steps as well."""
SUMMARY_BYTES = 900_000
"""The runner refuses summaries over 1 MiB as a whole."""
_EVENT = f"{MARGIN}[flaude:event:"


class Report:
    """Everything a step says. `environ` names the runner's files; those not set are not written."""

    def __init__(self, environ: Mapping[str, str], stdout: TextIO) -> None:
        self._environ = environ
        self._stdout = stdout
        self._redactor = Redactor()
        self._masked: set[str] = set()
        self._told: dict[Level, int] = {"error": 0, "warning": 0, "notice": 0}
        self._excerpt = LogExcerpt()
        self._log: BinaryIO | None = None
        self._mute = False
        self._before = ""
        self.app = ""
        """The Fly app's name, for hints, once it is known."""
        self.lines = 0
        """How many log lines of the machine were told."""
        self.debugging = environ.get("RUNNER_DEBUG") == "1"

    # Secrets

    def mask(self, secrets: Iterable[str]) -> None:
        """Tell the runner what to hide, before anything that could hold it is printed.

        The lines of a secret go one by one: the runner would also split it, but then hide a line like `{`.
        """
        secrets = list(secrets)
        self._redactor.add(secrets)
        for secret in secrets:
            for line in map(str.strip, secret.splitlines()):
                if len(line) >= SHORTEST and line not in self._masked:
                    self._masked.add(line)
                    self._print(command("add-mask", line))

    def redact(self, text: str) -> str:
        return self._redactor.redact(text)

    def redact_json_line(self, line: str) -> str:
        return self._redactor.redact_json_line(line)

    # The step log

    def say(self, text: str) -> None:
        """Our own words, one or more lines. What is quoted in them cannot become a command."""
        for line in margin_lines(self.redact(text)):
            own = line.removeprefix(MARGIN)
            self._print(line if own.lstrip().startswith(":") else own)

    def log_to(self, file: BinaryIO | None) -> None:
        """Write the machine's lines to this file as well, whole; None ends it. The caller closes the file."""
        self._log = file

    def machine_lines(self, lines: Sequence[str]) -> None:
        """Lines of the machine's log, as they come: to the step log, the log file and the tail.

        The margin goes into the file too: printing that file in a later step must not run commands either.
        Our guest's event lines are for machines: people see them in the file, and under step debug.
        """
        page, self._before = self._redactor.redact_page(visible("\n".join(lines)).splitlines(), self._before)
        safe = margin_lines("\n".join(page))
        self.lines += len(lines)
        if safe:
            self._write_log("\n".join(safe) + "\n")
        self._excerpt.see([
            line[len(MARGIN) :] if len(line) < TAIL_LINE_CHARS else cut(line[len(MARGIN) :], TAIL_LINE_CHARS)
            for line in safe
        ])  # fmt: skip
        shown = safe if self.debugging else [line for line in safe if not line.startswith(_EVENT)]
        if shown:
            self._print("\n".join(map(cut, shown)))

    def _write_log(self, text: str) -> None:
        if self._log is None:
            return
        try:
            self._log.write(text.encode("utf-8", "replace"))
        except OSError as error:  # a full disk here is no reason to lose the run
            self._log = None
            self.say(f"The log file ends here ({os.strerror(error.errno or 0)}).")

    def tail(self, count: int) -> tuple[str, ...]:
        """The last lines of the machine's log, as they may be shown anywhere."""
        return tuple(MARGIN + line for line in self._excerpt.tail(count))

    def excerpt(self, phase: str) -> tuple[str, ...]:
        """The last lines of the work that failed in a phase of the catalog, as they may be shown anywhere."""
        return self._excerpt.of_failure(phase, EXCERPT_LINES)

    def safe_lines(self, text: str) -> tuple[str, ...]:
        """The last lines of a tool's text, as they may be shown anywhere."""
        lines = self.redact(visible(text)).replace("##[", "##\\[").splitlines()
        return tuple(cut(line, TAIL_LINE_CHARS) for line in lines[-EXCERPT_LINES:])

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold what is said inside. Groups do not nest."""
        self._print(command("group", self.redact(one_line(title))))
        try:
            yield
        finally:
            self._print(command("endgroup"))

    def quote(self, text: str) -> None:
        """Untrusted text that is not of the machine's log: an API's own words, a tool's message."""
        for line in margin_lines(self.redact(visible(text))):
            self._print(cut(line))

    def debug(self, text: str) -> None:
        """Untrusted text for those who asked for it by step debug."""
        if self.debugging:
            self.quote(text)

    # Annotations

    def annotate(
        self,
        level: Level,
        title: str,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        column: int | None = None,
    ) -> None:
        """An annotation on the run; beyond the runner's ten of a level it becomes a plain line of the log."""
        title, text = self.redact(one_line(title)), self.redact(visible(message)).strip()
        text = text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"
        self._told[level] += 1
        if self._told[level] > ANNOTATIONS or not text:
            self.say(f"{level}: {title}: {text}")
            return
        place = {"file": self.redact(visible(file)), "line": line or None, "col": column}
        self._print(command(level, text, place | {"title": title}))

    def _annotate(self, told: Mapping[str, Any]) -> None:
        """The failure first, then its places, the other problems of a preflight, and what did not decide."""
        errors = told["errors"]
        for index, error in enumerate(errors):
            shown = (told["line"], told["excerpt"]) if index == 0 else ()
            self.annotate("error", CATALOG[error["type"]].title, error_message(error, *shown))
        for finding in told["findings"]:
            title = CATALOG[errors[0]["type"]].title
            place = {name: finding[name] for name in ("file", "line", "column")}
            self.annotate("error", title, finding["message"], **place)
        for warning in told["warnings"]:
            kind = CATALOG[warning["type"]]
            text = warning_message(kind.type, warning["details"], for_app(kind.hint, self.app))
            self.annotate("warning", kind.title, text)

    def warning(self, type: str, details: str = "") -> None:  # noqa: A002 - the catalog's word
        kind = CATALOG[type]
        self.annotate("warning", kind.title, warning_message(type, details, for_app(kind.hint, self.app)))

    # Files

    def save_state(self, values: Mapping[str, str]) -> None:
        """Leave something for post. Written at once: this process may not live to write later."""
        with self._told_if_it_fails("GITHUB_STATE"):
            save_state(self._environ, values)

    def publish(self, report: RunReport, artifacts: Artifacts | None = None) -> RunReport:
        """Tell a finished step everywhere: annotations, `report.json`, outputs, summary. Returns it complete.

        A place that fails is said and does not keep the others from being told.
        """
        from flaude_action.summary import summary  # needed at the end only, and the start of a run is timed

        name = artifacts.path(REPORT_FILE) if artifacts else ""
        report = report.complete(report_file=name, app=self.app)
        document = redacted(report.document(), self._redactor.redact_json)
        self._annotate(document)
        self.quote(report.line)
        for error in report.errors:
            form = self._redactor.redact_json(error.as_json(debug=True))
            self.debug(json.dumps(form, ensure_ascii=False))
        if artifacts is not None:
            with self._told_if_it_fails(name):
                artifacts.write(REPORT_FILE, json.dumps(document, indent=1, ensure_ascii=False).encode())
        with self._told_if_it_fails("GITHUB_OUTPUT"):
            self.set_outputs({output: document[output] for output in report.outputs.values()})
        with self._told_if_it_fails("GITHUB_STEP_SUMMARY"):
            self.add_summary(summary(document))
        return report

    def set_outputs(self, values: Mapping[str, Any]) -> None:
        """Write `GITHUB_OUTPUT`. A value that is too long is cut with a note; JSON is left empty instead."""
        left, entries = OUTPUTS_BYTES, []
        for name, value in values.items():
            text = rendered(value)
            if _bytes(text) > min(VALUE_BYTES, left):
                text = shortened(text) if isinstance(value, str) and left > VALUE_BYTES else ""
                self.say(f"Output `{name}` is too long and was {'cut' if text else 'left empty'}.")
            left -= _bytes(text)
            entries.append(file_entry(name, text))
        self._append("GITHUB_OUTPUT", "".join(entries))

    def add_summary(self, markdown: str) -> None:
        """Add Markdown, its secrets already taken out, to what the step summary holds so far."""
        self._append("GITHUB_STEP_SUMMARY", shortened(markdown, SUMMARY_BYTES))

    @contextmanager
    def _told_if_it_fails(self, place: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.say(f"{place} could not be written ({os.strerror(error.errno or 0)}).")

    def _append(self, variable: str, text: str) -> None:
        if name := self._environ.get(variable):
            with Path(name).open("a", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write(text)

    def _print(self, text: str) -> None:
        if self._mute:
            return
        try:
            self._stdout.write(text + "\n")
            self._stdout.flush()
        except OSError:  # nobody reads any more; the machine must be destroyed all the same
            self._mute = True


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
