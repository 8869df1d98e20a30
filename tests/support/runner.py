"""What a runner does with a step's output and files: actions/runner 2.336.0, and act 0.2.87 where it differs.

Written from the two projects' documented grammar and verified by the vectors of the runner's own tests
(`tests/reference/runner-vectors.json`). Only what a step can cause is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

REGISTERED = frozenset(
    {
        "set-env", "set-output", "save-state", "add-path", "add-mask", "add-matcher", "remove-matcher",
        "warning", "error", "notice", "debug", "group", "endgroup", "echo", "stop-commands",
    }
)  # fmt: skip
UNREGISTERED_TOKENS = {"pause-logging", ""}

_V1_ESCAPES = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%"))
_V2_DATA = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_V2_PROPERTY = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))


@dataclass(frozen=True)
class Command:
    name: str
    data: str = ""
    properties: dict[str, str] = field(default_factory=dict)


def split_lines(output: str) -> list[str]:
    """.NET's `StreamReader.ReadLine`: a line ends at LF, CR LF or a lone CR."""
    lines = re.split(r"\r\n|\n|\r", output)
    return lines[:-1] if lines[-1] == "" else lines


def _unescape(text: str, escapes: tuple[tuple[str, str], ...]) -> str:
    for code, char in escapes:
        text = text.replace(code, char)
    return text


def _properties(text: str, separator: str, escapes: tuple[tuple[str, str], ...]) -> dict[str, str]:
    found = {}
    for pair in text.strip().split(separator):
        key, equals, value = pair.partition("=")
        if equals and key and value:
            found[key] = _unescape(value, escapes)
    return found


def parse_v2(line: str, registered: frozenset[str] = REGISTERED) -> Command | None:
    """`::name key=value,key=value::data`, at the start of the line but for white space of any kind."""
    text = line.lstrip()
    if not text.startswith("::"):
        return None
    end = text.find("::", 2)
    if end < 0:
        return None
    name, _, properties = text[2:end].partition(" ")
    if name.lower() not in registered:
        return None
    return Command(name, _unescape(text[end + 2 :], _V2_DATA), _properties(properties, ",", _V2_PROPERTY))


def parse_v1(line: str, registered: frozenset[str] = REGISTERED) -> Command | None:
    """`##[name key=value;key=value]data`, the first one anywhere in the line."""
    start = line.find("##[")
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    name, _, properties = line[start + 3 : end].partition(" ")
    if name.lower() not in registered:
        return None
    return Command(name, _unescape(line[end + 1 :], _V1_ESCAPES), _properties(properties, ";", _V1_ESCAPES))


def parse(line: str, registered: frozenset[str] = REGISTERED) -> Command | None:
    return parse_v2(line, registered) or parse_v1(line, registered)


def parse_act(line: str) -> bool:
    """Whether act takes the line for a command; it knows any name, but only from the first character."""
    return bool(re.match(r"^::([^ ]+)( (.+?))?::([^\r\n]*)[\r\n]*$", line + "\n")) or bool(
        re.match(r"^##\[([^ ]+)( (.+?))?\]([^\r\n]*)[\r\n]*$", line + "\n")
    )


def rewritten(line: str) -> str:
    """What the runner makes of markers of its own that a step prints."""
    for marker in ("start-action", "end-action"):
        line = line.replace(f"##[{marker}", f"##[\\{marker}")
    return line


class StopTokenRefused(Exception):
    """The runner does not catch its own refusal of a stop token: the step fails at once."""


@dataclass
class StepLog:
    """One step's output as the runner reads it: what it shows, and what it was made to do."""

    shown: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    failed: bool = False
    _stop_token: str = ""

    def read(self, output: str) -> None:
        for line in split_lines(output):
            self.process(line)

    def process(self, line: str) -> bool:
        """Whether the line was consumed as a command."""
        registered = REGISTERED | ({self._stop_token.lower()} if self._stop_token else set())
        command = parse(line, registered) if "::" in line or "##[" in line else None
        if command is None or (self._stop_token and command.name.lower() != self._stop_token.lower()):
            self.shown.append(rewritten(line))
            return False
        self.commands.append(command)
        if self._stop_token:
            self._stop_token = ""
        else:
            self._do(command)
        return True

    def _do(self, command: Command) -> None:
        name = command.name.lower()
        if name == "stop-commands":
            token = command.data
            if token.lower() in REGISTERED or token in UNREGISTERED_TOKENS:
                raise StopTokenRefused(token)
            self._stop_token = token
            if len(token) > 6:
                self.masks.append(token)
        elif name == "add-mask":
            if command.data.strip():
                lines = re.split(r"[\r\n]+", command.data)
                self.masks += [line.strip() for line in lines if line.strip()]
                self.masks += [command.data] if len(lines) > 1 else []
        elif name in ("set-env", "add-path"):
            self.failed = True  # disabled for years, but asking for it still fails the step
        elif name == "echo":
            self.failed |= command.data.strip().lower() not in ("on", "off")


def validated_lines_and_columns(properties: dict[str, str]) -> dict[str, str]:
    """The place of an annotation after the runner has dropped what does not fit together."""
    found = dict(properties)
    if "endLine" in found:
        found.setdefault("line", found["endLine"])
    if "endColumn" in found:
        found.setdefault("col", found["endColumn"])
    if "line" not in found or found.get("endLine", found["line"]) != found["line"]:
        found.pop("col", None)
        found.pop("endColumn", None)
    for low, high in (("line", "endLine"), ("col", "endColumn")):
        if low in found and high in found and int(found[high]) < int(found[low]):
            del found[low], found[high]
    return found


class FileCommandError(Exception):
    """The file cannot be read, and the step fails."""


def parse_file(content: str) -> dict[str, str]:
    """`GITHUB_OUTPUT`, `GITHUB_STATE` or `GITHUB_ENV` as the runner on Linux reads it: LF ends a line."""
    content = content.removeprefix("\ufeff")
    pairs: dict[str, str] = {}
    at = 0
    while at < len(content):
        line, newline, at = _line(content, at)
        equals, heredoc = line.find("="), line.find("<<")
        if not line:
            continue
        if equals >= 0 and (heredoc < 0 or equals < heredoc):
            pairs[line[:equals]] = line[equals + 1 :]
        elif heredoc >= 0:
            name, delimiter = line[:heredoc], line[heredoc + 2 :]
            if not name or not delimiter:
                raise FileCommandError("name and delimiter must not be empty")
            pairs[name], at = _heredoc(content, at, delimiter, newline)
        else:
            raise FileCommandError("expected a line with = or <<")
    return pairs


def _line(content: str, at: int) -> tuple[str, str, int]:
    end = content.find("\n", at)
    return (content[at:], "", len(content)) if end < 0 else (content[at:end], "\n", end + 1)


def _heredoc(content: str, at: int, delimiter: str, newline: str) -> tuple[str, int]:
    if not newline:
        raise FileCommandError("Matching delimiter not found")
    start = at
    while at < len(content):
        here = at
        line, newline, at = _line(content, at)
        if line == delimiter:
            return content[start : max(here - 1, start)], at
        if not newline:
            raise FileCommandError("EOF marker missing new line")
    raise FileCommandError("Matching delimiter not found")


ACT_LINE_BYTES = 64 * 1024


def parse_file_act(content: str) -> dict[str, str]:
    """The same as act reads it: `bufio.Scanner` lines, no empty line, values put together again."""
    lines = iter(_scanned(content))
    pairs: dict[str, str] = {}
    for line in lines:
        equals, heredoc = line.find("="), line.find("<<")
        if equals >= 0 and (heredoc < 0 or equals < heredoc):
            pairs[line[:equals]] = line[equals + 1 :]
        elif heredoc >= 0:
            delimiter, value = line[heredoc + 2 :], ""
            for body in lines:
                if body == delimiter:
                    break
                value = f"{value}\n{body}" if value else body
            else:
                raise FileCommandError("invalid format delimiter")
            pairs[line[:heredoc]] = value
        else:
            raise FileCommandError(f"invalid format {line!r}")
    return pairs


def _scanned(content: str) -> list[str]:
    """Lines of Go's scanner: a trailing CR is dropped, and a line that is too long ends everything."""
    lines = []
    for line in content.removesuffix("\n").split("\n") if content else []:
        if len(line.encode()) >= ACT_LINE_BYTES:
            break
        lines.append(line.removesuffix("\r"))
    return lines


Reader = Literal["runner", "act"]
READERS = {"runner": parse_file, "act": parse_file_act}
