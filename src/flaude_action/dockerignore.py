"""What a `.dockerignore` leaves out of a build context.

The rules are Docker's own, parent folders included: the last pattern that fits a path or one of its folders
decides. https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from flaude_action.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_ANY, _ANY_NAME, _ANY_FOLDERS = ".*", "[^/]*", "(?:.*/)?"
_STARS = (_ANY, _ANY_NAME, _ANY_FOLDERS)


@dataclass(frozen=True)
class _Pattern:
    keeps: bool
    parts: tuple[str, ...]
    """A regular expression, part by part: each is one character, or one of the stars."""
    literal: str
    """The folders before the first wildcard."""

    def fits(self, path: str) -> bool:
        """Whether it names the path, or a folder that it is in."""
        if self._regex is not None:
            return self._regex.fullmatch(path) is not None
        return _fits(self._letters, path)

    @cached_property
    def _regex(self) -> re.Pattern[str] | None:
        """With more stars an expression could be tried for ever: patterns and names are a pull request's."""
        few = sum(part in _STARS for part in self.parts) <= 2
        return re.compile("".join(self.parts) + "(?:/.*)?", re.DOTALL) if few else None

    @cached_property
    def _letters(self) -> list[str | re.Pattern[str]]:
        return [part if part in _STARS else re.compile(part, re.DOTALL) for part in self.parts]


def _fits(parts: Sequence[str | re.Pattern[str]], path: str) -> bool:
    """The same as the expression says, character by character, for all its parts at once."""
    # Where a match may have come to: before a part, or, as a negative number, inside of some folders.
    places = _with_none(parts, {0})
    for char in path:
        if len(parts) in places and char == "/":
            return True
        places = _with_none(parts, {after for place in places for after in _after(parts, place, char)})
    return len(parts) in places


def _after(parts: Sequence[str | re.Pattern[str]], place: int, char: str) -> tuple[int, ...]:
    """The places that a character leads to."""
    if place == len(parts):
        return ()
    at = -place - 1 if place < 0 else place
    part = parts[at]
    if part == _ANY_FOLDERS:
        return (-at - 1, at + 1) if char == "/" else (-at - 1,)
    if isinstance(part, str):
        return () if part == _ANY_NAME and char == "/" else (at,)
    return (at + 1,) if part.match(char) else ()


def _with_none(parts: Sequence[str | re.Pattern[str]], places: set[int]) -> set[int]:
    """The places, and those that no character leads to."""
    for place in sorted(places):
        while 0 <= place < len(parts) and isinstance(parts[place], str):
            place += 1
            places.add(place)
    return places


class DockerIgnore:
    """The patterns of one file. Raises ConfigError for a pattern that Docker would refuse as well."""

    def __init__(self, text: str = "") -> None:
        self._patterns = [_read(line, number) for number, line in _lines(text)]
        self._kept = [pattern.literal for pattern in self._patterns if pattern.keeps]

    def ignores(self, path: str) -> bool:
        """Whether the path (relative, with `/`) is left out."""
        ignored = False
        for pattern in self._patterns:
            if pattern.keeps == ignored and pattern.fits(path):
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
        return _Pattern(keeps, ("(?!)",), "")
    literal = path.partition("*")[0].partition("?")[0].partition("[")[0].partition("\\")[0]
    folders = path if literal == path else literal.rpartition("/")[0]
    parts = tuple(_translated(path))
    re.compile("".join(parts))
    return _Pattern(keeps, parts, folders)


def _translated(path: str) -> Iterator[str]:
    at = 0
    while at < len(path):
        char = path[at]
        if path.startswith("**", at):
            at += 2
            if path.startswith("/", at):
                at += 1
            yield _ANY if at >= len(path) else _ANY_FOLDERS
            continue
        if char == "[":
            end = path.index("]", at + 2) if "]" in path[at + 2 :] else len(path)
            yield path[at : end + 1]
            at = end + 1
            continue
        if char == "\\":
            at += 1
            yield re.escape(path[at])
        else:
            yield {"*": _ANY_NAME, "?": "[^/]"}.get(char) or re.escape(char)
        at += 1
