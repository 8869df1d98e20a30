"""Which images a Dockerfile builds on; the same with each named by its digest, or its stages labelled.

Reads only what that needs: `FROM`, the `ARG`s before the first one, and `COPY --from=`. Everything else, also
whether the text is a Dockerfile at all, is the engine's to judge.
https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=.*")
_FROM = re.compile(r"(\s*FROM\s+(?:--\S+\s+)*)(\S+)((?:\s+AS\s+(\S+))?\s*)", re.IGNORECASE)
_COPY_FROM = re.compile(r"(\s*COPY\s+(?:--\S+\s+)*?--from=)(\S+)(\s.*)", re.IGNORECASE | re.DOTALL)
_ARG = re.compile(r"\s*ARG\s+(.*)", re.IGNORECASE | re.DOTALL)
_ASSIGNMENT = re.compile(r"""(\w+)(?:=("[^"]*"|'[^']*'|\S*))?""")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?([-+])((?:[^{}]|\{[^{}]*\})*))?\})")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
"""`str.splitlines` knows more ends of a line than Docker does."""


def external_images(dockerfile: str, build_args: Mapping[str, str]) -> list[str]:
    """The images it takes from elsewhere, each once, as it names them with the build's arguments put in."""
    found: dict[str, None] = {}

    def note(image: str) -> str:
        found[image] = None
        return image

    _rewritten(dockerfile, build_args, note)
    return list(found)


def pinned(dockerfile: str, build_args: Mapping[str, str], images: Mapping[str, str]) -> str:
    """The same text with every name of `images` replaced; it keeps its number of lines."""
    return _rewritten(dockerfile, build_args, lambda image: images.get(image, image))


def labelled(dockerfile: str, label: str) -> str:
    """The same text with every stage beginning with a label, given as `key=value`."""
    done = ""
    for lines, instruction in _instructions(dockerfile):
        done += lines
        if _FROM.fullmatch(instruction):
            done += ("" if done.endswith("\n") else "\n") + f"LABEL {label}\n"
    return done


def _rewritten(dockerfile: str, build_args: Mapping[str, str], rename: Callable[[str], str]) -> str:
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    started = False
    done = []
    for lines, instruction in _instructions(dockerfile):
        line = lines
        if found := _FROM.fullmatch(instruction):
            started = True
            line = _renamed_from(found, lines, arguments, stages, rename)
            if found[4]:
                stages.add(found[4].lower())
        elif not started and (found := _ARG.fullmatch(instruction)):
            _assign(found[1], arguments, build_args)
        elif (found := _COPY_FROM.fullmatch(instruction)) and not _is_stage(found[2], stages):
            line = lines.replace(f"--from={found[2]}", f"--from={rename(found[2])}", 1)
        done.append(line)
    return "".join(done)


def _renamed_from(
    found: re.Match[str],
    lines: str,
    arguments: Mapping[str, str],
    stages: set[str],
    rename: Callable[[str], str],
) -> str:
    image = _expanded(found[2].strip("\"'"), arguments)
    if image in ("", "scratch") or image.lower() in stages:
        return lines
    renamed = rename(image)
    return lines if renamed == image else f"{found[1]}{renamed}{found[3].rstrip()}" + "\n" * lines.count("\n")


def _is_stage(name: str, stages: set[str]) -> bool:
    return name.isdecimal() or name.lower() in stages


def _instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction as its lines are and as one line; comments and empty lines as they are."""
    escape, directives = "\\", True
    found: list[tuple[str, str]] = []
    lines, joined = "", ""
    for line in _LINE.findall(dockerfile):
        bare = line.strip()
        if directives and (named := _ESCAPE.fullmatch(bare)):
            escape = named[1]
        directives = directives and _DIRECTIVE.fullmatch(bare) is not None
        lines += line
        if bare.startswith("#") or (not bare and joined):
            if not joined:
                found.append((lines, ""))
                lines = ""
            continue
        if line.rstrip().endswith(escape):
            joined += line.rstrip()[:-1] + " "
            continue
        found.append((lines, joined + line.rstrip("\r\n")))
        lines, joined = "", ""
    return [*found, (lines, joined)] if lines else found


def _assign(text: str, arguments: dict[str, str], build_args: Mapping[str, str]) -> None:
    for name, default in _ASSIGNMENT.findall(text):
        arguments[name] = build_args.get(name, _expanded(default.strip("\"'"), arguments))


def _expanded(text: str, arguments: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        given = arguments.get(found[1] or found[2], "")
        if found[3] == "-":
            return given or _expanded(found[4], arguments)
        if found[3] == "+":
            return _expanded(found[4], arguments) if given else ""
        return given

    return _VARIABLE.sub(value, text)
