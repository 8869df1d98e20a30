"""What the runner reads from us: command lines on stdout, entries of files. Pure; `report` writes them.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_DELIMITER_BYTES = 16

VALUE_BYTES = 60_000
"""The longest value we write: act reads these files with a scanner that stops at lines of 64 KiB."""


def command(name: str, message: str = "", properties: Mapping[str, object] | None = None) -> str:
    """`::name key=value,…::message`, escaped as actions/toolkit does; empty properties are left out."""
    given = {key: str(value) for key, value in (properties or {}).items() if value not in (None, "")}
    listed = ",".join(f"{key}={_escape_property(value)}" for key, value in given.items())
    return f"::{name}{' ' if listed else ''}{listed}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def file_entry(name: str, value: str) -> str:
    """One entry of `GITHUB_OUTPUT` or `GITHUB_STATE`, which any value survives as `portable` gives it.

    The delimiter is random and not a line of the value, so a value can never end its entry and begin another.
    Raises ValueError for a name the runner or an expression could not take.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")
    value = portable(value)
    delimiter = f"flaude_{secrets.token_hex(_DELIMITER_BYTES)}"
    while delimiter in value:
        delimiter = f"flaude_{secrets.token_hex(_DELIMITER_BYTES)}"
    body = f"{value}\n" if value else ""
    return f"{name}<<{delimiter}\n{body}{delimiter}\n"


def portable(value: str) -> str:
    """The value as both the runner and act give it back: line ends are `\\n`, no empty line at either end.

    act loses empty first lines and carriage returns at line ends; neither carries meaning in an output.
    """
    text = value.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").strip("\n")
    return text.encode("utf-8", "replace").decode("utf-8")


def shortened(value: str, limit: int = VALUE_BYTES) -> str:
    """At most `limit` bytes of UTF-8, with a last line that says how much is missing."""
    data = value.encode("utf-8", "replace")
    if len(data) <= limit:
        return value
    note = f"\n[cut: {len(data)} bytes in all]"
    return data[: limit - len(note)].decode("utf-8", "ignore") + note
