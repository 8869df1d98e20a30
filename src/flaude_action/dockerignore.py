"""What a `.dockerignore` leaves out of a build context.

The rules are Docker's own, parent folders included: the last pattern that fits a path or one of its folders
decides. https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from flaude_action.errors import ConfigError
from flaude_action.untrusted import quoted


@dataclass(frozen=True)
class _Pattern:
    keeps: bool
    regex: re.Pattern[str]
    literal: str
    """The folders before the first wildcard."""


class DockerIgnore:
    """The patterns of one file. Raises ConfigError for a pattern that Docker would refuse as well."""

    def __init__(self, text: str = "") -> None:
        self._patterns = [_pattern(line) for line in _lines(text)]
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


def _lines(text: str) -> list[str]:
    # Not `str.splitlines`, which knows more ends of a line than Docker does.
    lines = [line.strip() for line in text.removeprefix("\ufeff").split("\n") if not line.startswith("#")]
    return [line for line in lines if line]


def _pattern(line: str) -> _Pattern:
    keeps = line.startswith("!")
    path = line[1:].strip() if keeps else line
    if not path:
        raise _refused(line)
    path = posixpath.normpath(path).lstrip("/")
    if path == ".":  # the context itself: no pattern for its parts
        return _Pattern(keeps, re.compile(r"(?!)"), "")
    literal = path.partition("*")[0].partition("?")[0].partition("[")[0].partition("\\")[0]
    folders = path if literal == path else literal.rpartition("/")[0]
    return _Pattern(keeps, _compiled(line, path), folders)


def _compiled(line: str, path: str) -> re.Pattern[str]:
    """Whole paths: the pattern, and everything inside what it names."""
    try:
        return re.compile(f"{_translated(path)}(?:/.*)?", re.DOTALL)
    except (re.error, IndexError):
        raise _refused(line) from None


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


def _refused(line: str) -> ConfigError:
    return ConfigError(
        "config_invalid",
        f"`.dockerignore` has a pattern that cannot be read: {quoted(line)}.",
        hint="See https://docs.docker.com/build/concepts/context/#dockerignore-files.",
    )
