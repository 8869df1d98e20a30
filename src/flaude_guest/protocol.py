"""The words host and guest share: verbs, phases, event lines, the exit marker, digests, and which words of
the user's would let the repository's files configure Claude Code.

Pure and standard-library only, because it runs at both ends: inside the machine (Python 3.9 and up)
and in the action. Who speaks the words is elsewhere: `flaude_action.guest_link` and
`flaude_guest.supervisor`.

The verbs, each one exec that answers with one JSON document (`protocol`, `nonce`, and):

    provision            the job on stdin                `accepted`, `repeated`
    status               [--after SEQ] [--wait S] [--settle S]
                                                         `seq`, `phase`, `times`, `result`, `result_digest`,
                                                         `result_bytes`
    interrupt            stop the agent, freeze          as status
    collect              NAME OFFSET LENGTH, once or more; all lengths together at most COLLECT_MAX_BYTES
                                                         `parts`, in that order, each with `name`, `offset`,
                                                         `size` (the file's), `eof`, `data` (base64) and its
                                                         `sha256`
    release              the last word may be said       `released`

`status` answers when `seq` is over SEQ, at the latest after `--wait`. A result is told at once; a phase that
merely changed not before `--settle` seconds have passed, so that who may not ask often need not.
A result of more than RESULT_INLINE_BYTES is null there, because nobody knows how much of an answer Fly
carries: its canonical JSON is the file `result` of `collect`. `result_bytes` is that JSON's size, and
`result_digest` that JSON's; 0 and null while there is none.
An error is `{"protocol", "error": {"type", "message"}}` with exit code 2.

The result is held `limits.hold_s` in all, or until `release`. Once all that it names has been handed over it
is held `limits.hold_idle_s` from the last call on; three times as long until a further call shows that the
last answer arrived.
"""

import hashlib
import json
import re
from typing import Any, Dict, Iterable, List, NoReturn, Optional, Sequence

PROTOCOL = 1
"""Version of everything in this module. Host and guest must agree on it exactly."""

IMAGE_LABEL = "flaude.guest.protocol"
"""Image label that says "our guest is the entrypoint"; its value is `str(PROTOCOL)`."""

GUEST_COMMAND = "flaude-guest"
"""The program on the machine's PATH that carries a verb to the supervisor."""

# Environment of the machine's config: readable by anyone who may read the app, so never a secret.
ENV_NONCE = "FLAUDE_NONCE"
ENV_PROVISION_S = "FLAUDE_PROVISION_S"
ENV_DEADLINE_S = "FLAUDE_DEADLINE_S"

PROVISION_WINDOW_S = 240
"""A guest that nobody provisions for this long exits by itself: Fly may be out of reach for minutes."""
STATUS_WAIT_S = 20
"""The longest one `status` exec blocks; Fly cuts execs somewhere above 30 s."""
COLLECT_MAX_BYTES = 4 * 1024 * 1024
"""One `collect` answer carries at most this many bytes before base64. How many come whole is Fly's to say."""
RESULT_INLINE_BYTES = 12 * 1024
"""The largest result that a status answer holds, as it is written there; all around it is less than 1 KiB."""
HOLD_S, HOLD_IDLE_S = 600, 60
"""How long the guest keeps its result for the host: in all, and since the host's last call."""

PHASES = ("waiting", "checks", "fetch", "setup", "agent", "collect", "hold", "released")

EVENT_MAX_BYTES = 1024

# Measured on Claude Code 2.1.330, beside `--setting-sources= --strict-mcp-config`.
SETTINGS_FLAGS = frozenset(
    {"--setting-sources", "--strict-mcp-config", "--bare", "--safe-mode", "--restricted"}
)
"""Flags of `claude` that say themselves what of the configuration is loaded."""
_FILE_FLAGS = frozenset({
    "--append-system-prompt-file", "--system-prompt-file", "--append-subagent-system-prompt-file",
    "--plugin-dir", "--plugin-dir-no-mcp", "--project-config-root",
})  # fmt: skip
JSON_OR_FILE_FLAGS = frozenset({"--settings", "--mcp-config", "--agents"})
"""Their values are taken for a file's name unless they are JSON."""
_VARIABLES = frozenset({
    "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "CLAUDE_COWORK_MEMORY_PATH_OVERRIDE", "CLAUDE_CODE_SHELL",
    "CLAUDE_CODE_SHELL_PREFIX", "ANTHROPIC_PROFILE", "BUN_OPTIONS", "BUN_INSPECT_PRELOAD",
})  # fmt: skip
_PLACE_VARIABLE = re.compile(
    r"(?:ANTHROPIC|BUN|CLAUDE)_(?:\w+_)?(?:DIRS?|DIRECTORY|DIRECTORIES|FILE|PATH|ROOT|HOME)"
)
_NO_PLACE = frozenset({"CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR"})
_PLACE_SETTING = re.compile(r"\w+(?:Dirs?|Directory|Directories|Files?|Paths?)")
_REMOTE_SOURCES = ("github", "git", "url", "npm")
_REMOTE = re.compile(r"(?:https|ssh)://.+|[\w.-]+@[\w.-]+:.+", re.DOTALL)

_MARKER_WORD = "[flaude:"
_EXIT_LINE = re.compile(r"^\[flaude:exit:(\d{1,3})\]$")
_EXIT_ANYWHERE = re.compile(r"\[flaude:exit:(\d+)\]")
_EVENT_LINE = re.compile(r"^\[flaude:event:(\{.*\})\]$")


def canonical_json(document: Any) -> str:
    """One spelling per document, so that both ends compute the same digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(document: Any) -> str:
    """`sha256:<hex>` of a JSON document."""
    return "sha256:" + hashlib.sha256(canonical_json(document).encode("ascii")).hexdigest()


def exit_line(code: int) -> str:
    """The guest's last word. Codes are what a process can exit with: 0 to 255."""
    if not 0 <= code <= 255:
        raise ValueError("exit code out of range: %d" % code)
    return "[flaude:exit:%d]" % code


def parse_exit_line(line: str) -> Optional[int]:
    """The code of a line that is nothing but the marker, else None."""
    found = _EXIT_LINE.match(line.rstrip("\r\n"))
    return int(found.group(1)) if found else None


def last_exit_marker(lines: Iterable[str]) -> Optional[int]:
    """The last marker found anywhere in any line: the lenient reading of flaude's own API."""
    code: Optional[int] = None
    for line in lines:
        for found in _EXIT_ANYWHERE.finditer(line):
            code = int(found.group(1))
    return code


def event_line(event: Dict[str, Any]) -> str:
    """A phase line for people and for the log's completeness: small, no model text, numbered by `seq`.

    Raises ValueError over 1 KiB: an event carries our own words and numbers, never content.
    """
    line = "[flaude:event:%s]" % canonical_json(event)
    if len(line) > EVENT_MAX_BYTES:
        raise ValueError("event line of %d bytes" % len(line))
    return line


def parse_event_line(line: str) -> Optional[Dict[str, Any]]:
    """The event of a well-formed event line, else None; never raises."""
    if len(line) > EVENT_MAX_BYTES:
        return None
    found = _EVENT_LINE.match(line.rstrip("\r\n"))
    if not found:
        return None
    try:
        event = json.loads(found.group(1))
    except (ValueError, RecursionError):  # a line may be nested as deep as it is long
        return None
    return event if isinstance(event, dict) else None


def break_markers(text: str) -> str:
    """Make it impossible for text that passes through to be read as one of our own lines."""
    return text.replace(_MARKER_WORD, "[flaude\\:")


def configuring_variables(names: Iterable[str]) -> List[str]:
    """Those that name a file or folder which Claude Code, or the program it is made of, loads or runs."""
    places = (name for name in names if name in _VARIABLES or _PLACE_VARIABLE.fullmatch(name))
    return sorted(name for name in places if name not in _NO_PLACE)


def configuring_flags(arguments: Sequence[str]) -> List[str]:
    """The flags among Claude Code's arguments that would let files of the repository configure it.

    What the user says in so many words, as JSON, is the user's own. Claude Code knows no abbreviations, and
    takes both `--flag value` and `--flag=value`; `--mcp-config` alone takes several values.
    """
    found = []
    for at, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag in SETTINGS_FLAGS or flag in _FILE_FLAGS:
            found.append(flag)
        elif flag in JSON_OR_FILE_FLAGS:
            values = [value] if equals else list(arguments[at + 1 : at + 2])
            if flag == "--mcp-config" and not equals:
                values += _until_flag(arguments[at + 2 :])
            if not values or any(map(configuring_members, values)):
                found.append(flag)
    return found


def _until_flag(arguments: Sequence[str]) -> List[str]:
    flags = (at for at, word in enumerate(arguments) if word.startswith("-") and word != "-")
    return list(arguments[: next(flags, len(arguments))])


def configuring_members(text: str) -> List[str]:
    """What in a value of one of JSON_OR_FILE_FLAGS names files to load: members, or `[""]` for no JSON.

    Settings, MCP servers and agents have no member of the same name with another meaning.
    """
    try:
        document = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return [""]
    if not isinstance(document, dict):
        return [""]
    env, markets = document.get("env"), document.get("extraKnownMarketplaces")
    found = ["env." + name for name in configuring_variables(env if isinstance(env, dict) else ())]
    found += [name for name in document if _PLACE_SETTING.fullmatch(name) and isinstance(document[name], str)]
    if markets is not None and not (isinstance(markets, dict) and all(map(_is_remote, markets.values()))):
        found.append("extraKnownMarketplaces")
    agents = (each for each in document.values() if isinstance(each, dict))
    return found + ["memory"] * any(each.get("memory") in ("project", "local") for each in agents)


def _is_remote(market: Any) -> bool:
    """Whether a marketplace of plugins is another repository or server, and no folder of this one."""
    source = market.get("source") if isinstance(market, dict) else None
    if not isinstance(source, dict) or source.get("source") not in _REMOTE_SOURCES:
        return False
    url = source.get("url")
    return url is None or (isinstance(url, str) and _REMOTE.fullmatch(url) is not None)


def _no_number(_: str) -> NoReturn:
    raise ValueError("Claude Code's JSON has no NaN and no infinity")
