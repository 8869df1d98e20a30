"""A step's output as a run's page shows it: commands obeyed, secrets masked, annotations collected.

What the runner reads: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands.
Running the step is `step`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_COMMAND = re.compile(r"^::(?P<name>[A-Za-z_-]+)(?: (?P<properties>[^:]*))?::(?P<message>.*)$")
_ESCAPES = {"%25": "%", "%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ","}
_ESCAPE = re.compile("|".join(_ESCAPES))
_ANNOTATIONS = {"error": "Error", "warning": "Warning", "notice": "Notice"}


@dataclass(frozen=True)
class Annotation:
    """What is shown on the run's page and at the pull request: level is `error`, `warning` or `notice`."""

    level: str
    title: str
    message: str


class StepLog:
    """Feed it the lines a step prints; it gives back those a reader sees."""

    def __init__(self) -> None:
        self.annotations: list[Annotation] = []
        self._masks: list[str] = []
        self._resume_at = ""
        self._in_group = False

    def feed(self, line: str) -> list[str]:
        """The lines to show for one line printed; none when it was a command without a sight of its own."""
        found = _COMMAND.match(line)
        if self._resume_at:
            if line != f"::{self._resume_at}::":
                return self._shown(line)
            self._resume_at = ""
            return []
        if not found:
            return self._shown(line)
        return self._obey(found["name"], found["properties"] or "", _unescaped(found["message"]))

    def _obey(self, name: str, properties: str, message: str) -> list[str]:
        if name in _ANNOTATIONS:
            given = dict(pair.split("=", 1) for pair in properties.split(",") if "=" in pair)
            title = _unescaped(given.get("title", ""))
            self.annotations.append(Annotation(name, self.masked(title), self.masked(message)))
            return self._shown(f"{_ANNOTATIONS[name]}: {message}")
        if name == "add-mask":
            self._masks += [part for part in message.splitlines() if part]
        elif name == "stop-commands":
            self._resume_at = message
        elif name == "group":
            self._in_group = False
            shown = self._shown(f"▾ {message}")
            self._in_group = True
            return shown
        elif name == "endgroup":
            self._in_group = False
        return []

    def masked(self, text: str) -> str:
        """The text as the runner lets it be seen."""
        for mask in sorted(self._masks, key=len, reverse=True):
            text = text.replace(mask, "***")
        return text

    def _shown(self, text: str) -> list[str]:
        indent = "    " if self._in_group else ""
        return [indent + line for line in self.masked(text).split("\n")]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPES[found[0]], text)
