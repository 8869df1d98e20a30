"""What is wrong with one input, and reading a list so that everything that is wrong with it is found.

The notations are `input_values`', `env_input`'s and `claude_args`'; what users are told is `errors`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from flaude_action.catalog import CATALOG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Part = TypeVar("Part")
Value = TypeVar("Value")


class Refused(ValueError):
    """One problem of an input: a catalog `type`, a whole sentence, and what to type instead.

    `problems` holds those found in the same input, this one too.
    """

    def __init__(self, message: str, hint: str, type: str = "config_invalid") -> None:  # noqa: A002
        super().__init__(message)
        self.message = message
        self.hint = hint or CATALOG[type].hint
        self.type = type
        self.problems: list[Refused] = [self]

    @classmethod
    def of(cls, problems: list[Refused]) -> Refused:
        """The first problem, carrying all of them in the order found."""
        first = problems[0]
        first.problems = list(problems)
        return first


def read_each(read: Callable[[Part], Value], parts: Iterable[Part]) -> tuple[Value, ...]:
    """Every part's value. Raises Refused with the problems of all parts."""
    values, problems = [], []
    for part in parts:
        try:
            values.append(read(part))
        except Refused as refused:
            problems += refused.problems
    if problems:
        raise Refused.of(problems)
    return tuple(values)
