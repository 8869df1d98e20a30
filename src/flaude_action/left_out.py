"""What the machine could not put into the change, as its result tells it, in words.

The result is a machine's word: odd rows cost nothing but themselves. What else a failure says is `outcome`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = 5

_MESSAGE = "Some of the work is in files that the change cannot carry; what else was changed is in the patch."
_NAME_IT = (
    "If the work does not need them, name them in `.gitignore` or tell Claude Code in the prompt to remove"
    " them; then run again."
)
_WHY = {
    "too_large": "too large",
    "name_refused": "git takes no such name",
    "too_deep": "too many folders deep",
    "unreadable": "not readable",
    "too_many": "too many files",
    "git_refused": "git does not take it",
    "no_file": "a pipe, a socket or a device",
    "repository": "a repository of its own",
}


def failure(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a `collect_failed` says for it: fields of a FlaudeError; none when nothing was left out."""
    told = _told(result)
    return {"message": _MESSAGE, "details": told, "hint": _NAME_IT, "retryable": "user"} if told else {}


def notices(result: Mapping[str, Any], said: str) -> tuple[str, ...]:
    """The same for a run that has another verdict, unless it has been `said`."""
    told = _told(result)
    return (told,) if told and told not in said else ()


def _told(result: Mapping[str, Any]) -> str:
    changeset = result.get("changeset")
    changeset = changeset if isinstance(changeset, dict) else {}
    count, given = changeset.get("left_out_count"), changeset.get("left_out")
    if type(count) is not int or count <= 0:  # True is an int too
        return ""
    rows = [row for row in (given if isinstance(given, list) else ()) if isinstance(row, dict)][:SHOWN]
    named = ", ".join(_named(row) for row in rows)
    more = f" and {count - len(rows)} more" if rows and count > len(rows) else ""
    return f"Left out of the change: {named or count}{more}."


def _named(row: Mapping[str, Any]) -> str:
    size, why = row.get("size"), _WHY.get(str(row.get("why")), "")
    words = [_amount(size)] if type(size) is int and 0 < size < 1 << 63 else []
    inside = ", ".join([*words, why] if why else words)
    return quoted(str(row.get("path"))) + (f" ({inside})" if inside else "")


def _amount(size: int) -> str:
    """`70 bytes`, `66.8 MiB`, `4 GiB`."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> shift:
            return f"{round(size / (1 << shift), 1):g} {unit}"
    return f"{size} bytes"
