"""What a `.dockerignore` leaves out of a build context.

The rules are Docker's own, parent folders included: the last pattern that fits a path or one of its folders
decides. https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from flaude_action.errors import ConfigError


@dataclass(frozen=True)
class _Pattern:
    keeps: bool
    regex: re.Pattern[str]
    """Of whole paths: what the pattern names, and everything inside it."""
    literal: str
    """The folders before the first wildcard."""


class DockerIgnore:
    """The patterns of one file. Raises ConfigError for a pattern that Docker would refuse as well."""

    def __init__(self, text: str = "") -> None:
        self._patterns = [_read(line, number) for number, line in _lines(text)]
        self._kept = [pattern.literal for pattern in self._patterns if pattern.keeps]

    def ignores(self, path: str) -> bool:
        """Whether the path (relative, with `/`) is left out."""
        ignored = False
        for pattern in self._patterns:
            if pattern.keeps == ignored and pattern.regex.fullmatch(path):
                ignored = not pattern.keeps
        return ignored

    def may_keep_inside(self, folder: str) -> bool:
        """Whether a `!` pattern could bring back something inside a folder that is left out."""
        return any(
            not kept or f"{kept}/".startswith(f"{folder}/") or folder.startswith(f"{kept}/")
            for kept in self._kept
        )


def _lines(text: str) -> list[tuple[int, str]]:
    # Not `str.splitlines`, which knows more ends of a line than Docker does.
    lines = enumerate(text.removeprefix("\ufeff").split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip() and not line.startswith("#")]


def _read(line: str, number: int) -> _Pattern:
    try:
        return _pattern(line)
    except (re.error, LookupError):
        raise ConfigError(
            "config_invalid",
            f"`.dockerignore` has a pattern that cannot be read, in line {number}.",
            hint="See https://docs.docker.com/build/concepts/context/#dockerignore-files.",
        ) from None


def _pattern(line: str) -> _Pattern:
    keeps = line.startswith("!")
    path = line[1:].strip() if keeps else line
    if not path:
        raise LookupError("there is no pattern after the !")
    path = posixpath.normpath(path).lstrip("/")
    if path == ".":  # the context itself: no pattern for its parts
        return _Pattern(keeps, re.compile(r"(?!)"), "")
    literal = path.partition("*")[0].partition("?")[0].partition("[")[0].partition("\\")[0]
    folders = path if literal == path else literal.rpartition("/")[0]
    return _Pattern(keeps, re.compile(f"{_translated(path)}(?:/.*)?", re.DOTALL), folders)


def _translated(path: str) -> str:
    regex, at = "", 0
    while at < len(path):
        char = path[at]
        if path.startswith("**", at):
            at += 2
            if path.startswith("/", at):
                at += 1
            regex += ".*" if at >= len(path) else "(?:.*/)?"
            continue
        if char == "[":
            end = path.index("]", at + 2) if "]" in path[at + 2 :] else len(path)
            regex += path[at : end + 1]
            at = end + 1
            continue
        if char == "\\":
            at += 1
            regex += re.escape(path[at])
        else:
            regex += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        at += 1
    return regex
