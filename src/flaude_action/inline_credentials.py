"""Credentials that a workflow writes into inputs that are for something else, each with the name it is given.

In `settings` and `--mcp-config` they are values of an `env` or of `headers`, in `setup` what is exported.
Which of them are credentials is `env_credentials`'; whether such an input is right at all, others'.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from flaude_action.env_credentials import credential_parts, is_credential

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAMING = ("env", "headers")
_EXPORT = re.compile(r"""(?m)(?:^|[;&|])[ \t]*export[ \t]+([A-Za-z_]\w*)=("[^"\n]*"|'[^'\n]*'|[^\s;&|]+)""")
_SCHEME = re.compile(r"(?:Bearer|Basic|Token)\s+", re.IGNORECASE)


def inline_credentials(settings: str, claude_args: Iterable[str], setup: str) -> list[str]:
    """Each once. What the shell or Claude Code puts in from elsewhere, as `$TOKEN`, is none."""
    given = [*_of_json(settings), *(pair for word in claude_args for pair in _of_argument(word))]
    given += [(name, value.strip("\"'")) for name, value in _EXPORT.findall(setup)]
    found: list[str] = []
    for name, value in given:
        text = _SCHEME.sub("", value, count=1).strip()
        if "$" not in text:
            found += [text] if is_credential(name, text) else []
            found += credential_parts(text)
    return list(dict.fromkeys(found))


def _of_argument(word: str) -> Iterator[tuple[str, str]]:
    flag, _, value = word.partition("=") if word.startswith("--") else ("", "", word)
    yield from _of_json(value or flag)


def _of_json(text: str) -> Iterator[tuple[str, str]]:
    if not text.lstrip().startswith("{"):
        return
    try:
        waiting = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    for value in waiting:  # it grows on the way
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            yield from (pair for name in _NAMING for pair in _texts(value.get(name)))


def _texts(named: Any) -> Iterator[tuple[str, str]]:
    for name, value in named.items() if isinstance(named, dict) else ():
        if isinstance(value, str):
            yield name, value
