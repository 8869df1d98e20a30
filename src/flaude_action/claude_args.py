"""The input `claude_args`: its words, and which flags of `claude` a workflow may pass with it.

The guest owns the flags that decide how the run is started, read and named; the command line itself is built
on the machine, in `flaude_guest.agent`.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from flaude_action.refused import Refused
from flaude_action.untrusted import quoted
from flaude_guest.protocol import JSON_OR_FILE_FLAGS, SETTINGS_FLAGS, configuring_flags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_START = (
    "-p", "--print", "--output-format", "--input-format", "--include-partial-messages",
    "--replay-user-messages", "--permission-prompts", "--prompt-suggestions",
)  # fmt: skip
_SESSION = (
    "--session-id", "-r", "--resume", "-c", "--continue", "--fork-session", "--from-pr",
    "--no-session-persistence",
)  # fmt: skip
_ELSEWHERE = (  # not this task, not on this machine, or not without a person
    "-h", "--help", "-v", "--version", "--bg", "--background", "--cloud", "--environment", "--desktop",
    "--chrome", "--ide", "--remote-control", "--teleport", "--tmux", "-w", "--worktree",
)  # fmt: skip
OWNED = frozenset(_START + _SESSION + _ELSEWHERE)
INPUT_OF = {
    "--model": "model",
    "--max-turns": "max_turns",
    "--max-budget-usd": "max_budget_usd",
    "--settings": "settings",
    "--allowedTools": "allowed_tools",
    "--allowed-tools": "allowed_tools",
    "--append-system-prompt": "append_system_prompt",
    "--json-schema": "json_schema",
}
"""Flags that are inputs of this action too; `--json-schema` only as one, because the verdict must know."""

LETS_IN = "would let files of the repository configure Claude Code."
UNLESS = "or set `project_settings: always` if you trust all that may be checked out."

_OWNED_LETTERS = frozenset(flag[1] for flag in OWNED if not flag.startswith("--"))
# A word of a shell's line, or else a comment; the quotes around a word's parts stay for shlex to take away.
_PART = r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\."""
_WORD_OR_COMMENT = re.compile(rf"""((?:[^\s\\'"#]|{_PART})(?:[^\s\\'"]|{_PART})*)|#[^\n]*""", re.DOTALL)


def shell_words(text: str) -> tuple[str, ...]:
    """Words as a POSIX shell would split them, nothing expanded; a line may end in a comment."""
    try:
        # shlex itself would also take the `#` in the middle of a word, as in an address, for a comment.
        return tuple(shlex.split(_WORD_OR_COMMENT.sub(lambda found: found[1] or "", text)))
    except ValueError as error:  # its own fixed wording: "No closing quotation"
        raise Refused(f"The words cannot be told apart: {error}.", "Close every quote.") from None


def wrong_claude_args(
    args: Sequence[str], given: frozenset[str], *, project_settings: bool
) -> Iterator[Refused]:
    """Every flag that is not the workflow's. `given` names the inputs that are set; with `project_settings`
    files of the repository may configure Claude Code."""
    if args and not args[0].startswith("-"):
        yield Refused(f"It starts with {quoted(args[0])}, which is no flag.", "The task goes into `prompt:`.")
    for word in args:
        flag = word.partition("=")[0]
        if flag in OWNED or _bundles_owned(flag):
            yield Refused(f"{quoted(flag)} is set by the action itself.", "Leave it out.")
        if flag in SETTINGS_FLAGS:
            yield Refused(f"{quoted(flag)} is set by the action itself.", "Use `project_settings:` instead.")
        if flag == "--":
            yield Refused("`--` would end the action's own flags.", "Leave it out.")
        same = INPUT_OF.get(flag)
        if same == "json_schema" or same in given:
            yield Refused(f"{quoted(flag)} is the input `{same}` of this action.", f"Use `{same}:` alone.")
    if not project_settings:
        for flag in dict.fromkeys(configuring_flags(args)):
            if flag not in SETTINGS_FLAGS:
                instead = "Give it the JSON itself" if flag in JSON_OR_FILE_FLAGS else "Leave it out"
                yield Refused(f"{quoted(flag)} {LETS_IN}", f"{instead}, {UNLESS}")


def _bundles_owned(flag: str) -> bool:
    """`-pr` is `-p -r` to claude's command line."""
    return len(flag) > 2 and flag[0] == "-" and flag[1] in _OWNED_LETTERS
