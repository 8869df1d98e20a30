"""What Python says by itself in a stage of the action: its logging, warnings, errors that nobody caught.

The runner reads stderr as it reads stdout, and an API's words get into such text; so it is quoted and
redacted like all else. The library and the verbs for people leave stderr alone.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

from flaude_action.untrusted import TEXT_CHARS

if TYPE_CHECKING:
    from flaude_action.report import Report


class QuotedStderr(io.TextIOBase):
    """Every line written here becomes a quoted line of the step log."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Lines that are written at once are quoted at once: a secret may be wrapped over them."""
        lines, end, self._begun = (self._begun + text).rpartition("\n")
        if end:
            self._report.quote(lines)
        self._begun = self._begun[: 2 * TEXT_CHARS]  # more of a line would not be shown
        return len(text)

    def flush(self) -> None:
        begun, self._begun = self._begun, ""
        if begun:
            self._report.quote(begun)


def quote_stderr(report: Report) -> None:
    """From now on to the end of the process."""
    sys.stderr = QuotedStderr(report)
    logging.basicConfig(stream=sys.stderr, format="%(message)s", force=True)
    logging.getLogger("stamina").setLevel(logging.ERROR)  # our own words tell of tries
