"""Report: owns stdout and the runner's files; nothing else in this package prints.

Secrets are told to the runner before anything is printed, and every line that came from elsewhere passes
through `untrusted` and `redaction` here, so that no caller has to remember it. Telling a finished step in all
these places is `publish`'s, the folder for files `artifacts`'.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flaude_action.annotations import fitting
from flaude_action.credential_forms import not_covered
from flaude_action.log_caps import FILE_FULL, LEFT_OUT, LOG_FULL, QUOTES_FULL, CappedLines, LogCaps
from flaude_action.log_excerpt import LogExcerpt
from flaude_action.redaction import Redactor
from flaude_action.runner_protocol import command
from flaude_action.secret_forms import SHORTEST, SHORTEST_FORM, is_word
from flaude_action.state import save_state
from flaude_action.untrusted import MARGIN, TEXT_CHARS, cut, margin_lines, one_line, portions, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO, TextIO

Level = Literal["error", "warning", "notice"]

ANNOTATIONS = 10
"""The runner keeps this many of each level per step and drops the rest without a word."""
TAIL_LINE_CHARS = 1000
EXCERPT_LINES = 15
"""As many lines of what failed are shown beside what we say of it."""
_EVENT = f"{MARGIN}[flaude:event:"


class Report:
    """Everything a step says. `environ` names the runner's files; those not set are not written."""

    def __init__(self, environ: Mapping[str, str], stdout: TextIO, caps: LogCaps | None = None) -> None:
        self._caps = caps or LogCaps()
        self._environ = environ
        self._stdout = stdout
        self._redactor, self._proof = Redactor(), Redactor(lines=False)
        self._known: set[str] = set()
        self._masked: set[str] = set()
        self._told: dict[Level, int] = {"error": 0, "warning": 0, "notice": 0}
        self._excerpt = LogExcerpt()
        self._log: BinaryIO | None = None
        self._logged, self._shown = self._new_log()
        self._quoted = self._quotes()
        self._mute = False
        self._before = ""
        self.app = ""
        """The Fly app's name, for hints, once it is known."""
        self.debugging = environ.get("RUNNER_DEBUG") == "1"

    # Secrets

    def mask(self, secrets: Iterable[str], *, doubtful: Collection[str] = ()) -> None:
        """Tell the runner what to hide, before anything that could hold it is printed.

        What is `doubtful` is hidden like all else, but no proof for `holds_secret`. A secret's lines go one
        by one: the runner would split it too, but then hide a line like `{`.
        """
        secrets = [secret for secret in secrets if secret not in self._known]
        self._known.update(secrets)
        if secrets:
            self._redactor.add(not_covered(secrets))
            sure = (each for each in secrets if each not in doubtful and not is_word(each))
            self._proof.add(each for each in sure if len(each) >= SHORTEST_FORM)
        for secret in secrets:
            for line in map(str.strip, secret.splitlines()):
                if len(line) >= SHORTEST and line not in self._masked:
                    self._masked.add(line)
                    self._print(command("add-mask", line))

    def redact(self, text: str) -> str:
        return self._redactor.redact(text)

    def redact_json(self, document: Any) -> Any:
        return self._redactor.redact_json(document)

    def redact_json_line(self, line: str) -> str:
        return self._redactor.redact_json_line(line)

    def holds_secret(self, text: str) -> bool:
        """Whether a secret that is no plain word, of 8 characters and more, stands in it in any form."""
        return self._proof.found_in(text)

    # The step log

    def say(self, text: str) -> None:
        """Our own words, one or more lines. What is quoted in them cannot become a command."""
        for line in margin_lines(self.redact(text)):
            own = line.removeprefix(MARGIN)
            self._print(line if own.lstrip().startswith(":") else own)

    def log_to(self, file: BinaryIO | None) -> None:
        """Write the machine's lines to this file as well; None ends the log. The caller closes the file."""
        self._logged.end(
            lambda lines, size: self._write_log(MARGIN + LEFT_OUT.format(lines=lines, size=size))
        )
        self._write_log(flush=True)
        self._shown.end(self._not_shown)
        self._log = file
        self._logged, self._shown = self._new_log()

    def machine_lines(self, lines: Sequence[str]) -> None:
        """Lines of the machine's log, as they come: to the step log, the log file and the tail.

        The margin goes into the file too: printing that file in a later step must not run commands either.
        Our guest's event lines are for machines: people see them in the file, and under step debug.
        """
        for _ in self.machine_portions(lines):
            pass

    def machine_portions(self, lines: Sequence[str]) -> Iterator[None]:
        """The same, a little with each step of the iteration: others may have their turn in between."""
        for portion, unseen in portions(lines):
            page, self._before = self._redactor.redact_page(portion, self._before)
            if unseen:
                self._before = self._redactor.after(self._before, unseen)
            self._take(margin_lines("\n".join([*page, ""])))
            yield

    def _take(self, safe: list[str]) -> None:
        self._logged.add(safe)
        self._excerpt.see([
            line[len(MARGIN) :] if len(line) < TAIL_LINE_CHARS else cut(line[len(MARGIN) :], TAIL_LINE_CHARS)
            for line in safe
        ])  # fmt: skip
        shown = safe if self.debugging else [line for line in safe if not line.startswith(_EVENT)]
        self._shown.add(list(map(cut, shown)))

    def _new_log(self) -> tuple[CappedLines, CappedLines]:
        file = CappedLines(self._caps.file, self._write_log, self._file_is_full)
        return file, CappedLines(self._caps.shown, self._print, lambda: self.say(LOG_FULL))

    def _file_is_full(self) -> None:
        if self._log is not None:
            self.say(FILE_FULL)

    def _quotes(self) -> CappedLines:
        return CappedLines(self._caps.quoted, self._print, lambda: self.say(QUOTES_FULL))

    def _not_shown(self, lines: int, _: int) -> None:
        self.say(f"{lines} lines are not shown here.")

    def _write_log(self, lines: str = "", *, flush: bool = False) -> None:
        if self._log is None:
            return
        try:
            self._log.write(f"{lines}\n".encode("utf-8", "replace") if lines else b"")
            if flush:
                self._log.flush()
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
        end = max(0, len(text) - TEXT_CHARS)
        before = self._redactor.after("", text[max(0, end - TEXT_CHARS) : end])
        lines, _ = self._redactor.redact_page(visible(text[end:]).splitlines(), before)
        return tuple(cut(line.replace("##[", "##\\["), TAIL_LINE_CHARS) for line in lines[-EXCERPT_LINES:])

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold what is said inside. Groups do not nest."""
        self._print(command("group", self.redact(one_line(title))))
        before, self._quoted = self._quoted, self._quotes()
        try:
            yield
        finally:
            self._quoted.end(self._not_shown)
            self._quoted = before
            self._print(command("endgroup"))

    def quote(self, text: str) -> None:
        """Untrusted text that is not of the machine's log: an API's own words, a tool's message."""
        self._quoted.add(list(map(cut, margin_lines(self.redact(visible(cut(text, TEXT_CHARS)))))))

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
        title = self.redact(one_line(title))
        text = fitting(self.redact(visible(cut(message, TEXT_CHARS))).strip())
        self._told[level] += 1
        if self._told[level] > ANNOTATIONS or not text:
            self.say(f"{level}: {title}: {text}")
            return
        place = {"file": self.redact(visible(file)), "line": line or None, "col": column}
        self._print(command(level, text, place | {"title": title}))

    # Files

    def save_state(self, values: Mapping[str, str]) -> None:
        """Leave something for post. Written at once: this process may not live to write later."""
        with self.told_if_it_fails("GITHUB_STATE"):
            save_state(self._environ, values)

    def append(self, variable: str, text: str) -> None:
        """Add to the runner's file that this variable names."""
        if name := self._environ.get(variable):
            with (
                self.told_if_it_fails(variable),
                Path(name).open("a", encoding="utf-8", errors="replace", newline="\n") as file,
            ):
                file.write(text)

    @contextmanager
    def told_if_it_fails(self, place: str) -> Iterator[None]:
        """A file that cannot be written is said, and what comes next is done all the same."""
        try:
            yield
        except OSError as error:
            self.say(f"{place} could not be written ({os.strerror(error.errno or 0)}).")

    def _print(self, text: str) -> None:
        if self._mute:
            return
        try:
            self._stdout.write(text + "\n")
            self._stdout.flush()
        except OSError:  # nobody reads any more; the machine must be destroyed all the same
            self._mute = True
