"""A string that no `repr`, log line, traceback or format string shows.

The same two words as pydantic's `SecretStr`, whose import alone takes longer than everything else between the
process's start and the create request; wherever this library takes a secret, pydantic's will do as well.
"""

from __future__ import annotations

from typing import Protocol


class Secret(Protocol):
    """What any `SecretStr` can do."""

    def get_secret_value(self) -> str: ...


class SecretStr:
    """A secret; `bool` tells whether there is one."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"SecretStr({'**********' if self._value else ''!r})"

    def __str__(self) -> str:
        return "**********" if self._value else ""

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)
