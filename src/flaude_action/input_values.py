"""The text of one input -> its value, or the sentence that says what is wrong and what to type.

Each function is pure and knows one notation. Which input uses which, and what two inputs mean together, is
`inputs`'.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flaude_action.json_document import no_constant
from flaude_action.machine_size import REGIONS, close_regions
from flaude_action.refused import Refused, read_each
from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from collections.abc import Collection

_DURATION = re.compile(r"([1-9][0-9]{0,6})([smh])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_APP = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# An owner has an underscore where an organisation manages its users: `jane_acme`.
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_IMAGE = re.compile(
    r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?::[0-9]{1,5})?"  # host, or the first part of a path
    r"(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(/|$)|(^|/)\.|/$|\.$")
_GIVE_JSON = "Give a JSON object, or the name of a file in the workspace that holds one."


def is_text(value: str) -> bool:
    """Whether a process can be handed it: no NUL, no half of a surrogate pair (a byte that was no UTF-8)."""
    return not re.search("[\0\ud800-\udfff]", value)


def boolean(text: str) -> bool:
    """`true` or `false`, in the three spellings of YAML 1.2's core schema."""
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    raise Refused(f"{quoted(text)} is neither true nor false.", "Write `true` or `false`.")


def duration_s(text: str) -> float:
    """`90s`, `45m`, `2h` -> seconds. A bare number is refused: nobody would agree on its unit."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Refused(f"{quoted(text)} is not a duration.", "Write 90s, 45m or 2h.")
    return int(found.group(1)) * _SECONDS[found.group(2)]


def whole_number(text: str, low: int, high: int) -> int:
    """A decimal number between `low` and `high`, both included."""
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
    if number is None or not low <= number <= high:
        raise Refused(f"{quoted(text)} is not a whole number from {low} to {high}.", f"Write e.g. {low}.")
    return number


def megabytes(text: str) -> int:
    """A number of MB; whether there is such a machine depends on its CPUs."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Refused(f"{quoted(text)} is not a number of MB.", "Write the number of MB, in digits alone.")
    return int(text)


def dollars(text: str) -> float:
    """An amount above zero, like `2.50`; a currency sign is refused."""
    amount = float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) else math.nan
    if not amount > 0:
        raise Refused(f"{quoted(text)} is not an amount above zero.", "Write dollars, e.g. 2.50.")
    return amount


def one_of(text: str, choices: Collection[str]) -> str:
    if text in choices:
        return text
    allowed = " or ".join(f"`{choice}`" for choice in choices)
    raise Refused(f"{quoted(text)} is not one of them.", f"Write {allowed}.")


def words(text: str) -> list[str]:
    """Words between commas and white space."""
    return [word for word in re.split(r"[\s,]+", text) if word]


def region_codes(text: str) -> tuple[str, ...]:
    """Fly's three-letter regions in the order of preference."""
    return read_each(_region, dict.fromkeys(words(text)))


def _region(code: str) -> str:
    if code not in REGIONS:
        close = close_regions(code)
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        raise Refused(f"{quoted(code)} is not a Fly region.", f"{meant}Fly has: {' '.join(REGIONS)}.")
    return code


def app_name(text: str) -> str:
    if not _APP.fullmatch(text):
        raise Refused(
            f"{quoted(text)} is not a Fly app's name.",
            "Use the name alone: lower-case letters, digits and dashes, at most 63.",
        )
    return text


def image_reference(text: str) -> str:
    """`host/path:tag`, `host/path@sha256:…` or both; without `docker://`."""
    if len(text) > 512 or not _IMAGE.fullmatch(text):
        raise Refused(
            f"{quoted(text)} is not an image reference.",
            "Write host/name:tag or host/name@sha256:<64 hex digits>, without a scheme.",
        )
    return text


def http_url(text: str) -> str:
    """An http(s) URL without user, query or fragment; a trailing slash is dropped."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    bare = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in ("http", "https") or not host or not bare or re.search(r"[\s\x00-\x20\\]", text):
        # The text is not shown: a URL that is refused may well hold a password.
        raise Refused(
            "It is not a plain http(s) URL.", "Write https://host/path, without user, password or query."
        )
    return text.rstrip("/")


def repository_name(text: str) -> str:
    """`owner/name`, or the http(s) URL of a git repository."""
    if text.startswith(("http://", "https://")):
        url = http_url(text)
        if not urlsplit(url).path.strip("/"):
            raise Refused("The URL names no repository.", "Write https://host/owner/name.git.")
        return url
    if not _REPOSITORY.fullmatch(text):
        raise Refused(
            f"{quoted(text)} is not a repository.", "Write owner/name or https://host/owner/name.git."
        )
    return text


def git_ref(text: str) -> str:
    """A branch, tag, `refs/…` or commit that git itself would accept and never takes for an option.

    https://git-scm.com/docs/git-check-ref-format
    """
    if text.startswith(("-", "/")) or text == "@" or len(text) > 255 or _REF_FORBIDDEN.search(text):
        raise Refused(f"{quoted(text)} is not a git ref.", "Write a branch, a tag, refs/… or a commit's SHA.")
    return text


def repository_lines(text: str) -> tuple[tuple[str, str], ...]:
    """Lines `owner/name[@ref]` -> `(repository, ref or '')`."""
    return read_each(_repository_line, filter(None, map(str.strip, text.splitlines())))


def _repository_line(line: str) -> tuple[str, str]:
    repository, _, ref = line.partition("@")
    if "://" in line:
        raise Refused(f"{quoted(line)} is not owner/name.", "Write owner/name or owner/name@ref.")
    if line.endswith("@"):
        raise Refused(f"{quoted(line)} has no ref after the `@`.", "Write owner/name or owner/name@ref.")
    return repository_name(repository), git_ref(ref) if ref else ""


def tool_rules(text: str) -> tuple[str, ...]:
    """Rules between commas and line ends, brackets kept whole: `Edit, Bash(git log:*, git diff:*)` is two."""
    rules, current, depth = [], "", 0
    for char in text + "\n":
        if char in ",\n" and depth == 0:
            rules.append(current.strip())
            current = ""
            continue
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth < 0:
            break
        current += char
    if depth != 0:
        raise Refused("A bracket is not closed.", "Write rules like Edit, Bash(git log:*).")
    return read_each(_tool_rule, filter(None, rules))


def _tool_rule(rule: str) -> str:
    if rule.startswith("-") or len(rule) > 1000 or re.search(r"[\x00-\x1f]", rule):
        raise Refused(f"{quoted(rule)} is not a tool rule.", "Write rules like Edit, Bash(git log:*).")
    return rule


def model_name(text: str) -> str:
    """A model's alias or id, as the model API or a gateway spells it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,199}", text):
        raise Refused(
            f"{quoted(text)} is not a model's name.", "Write an alias like `opus`, or a model's id."
        )
    return text


def job_index(text: str) -> str:
    """The job's place in its matrix. Runners that do not know it leave it empty or unexpanded: then 0."""
    return text if re.fullmatch(r"[0-9]{1,4}", text) else "0"


def shell_text(text: str) -> str:
    """Lines of shell. Text from a form ends them with CR LF, and a shell would read the CR as a letter."""
    return text.replace("\r\n", "\n")


def looks_like_json(text: str) -> bool:
    """Whether it is meant as JSON and not as a file's name."""
    return re.match(r"""\s*([{["]|(true|false|null|-?[0-9]+)\s*$)""", text) is not None


def json_object(text: str) -> str:
    """The text itself when it is a JSON object."""
    try:
        document: Any = json.loads(text, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(f"It is not JSON: {error.msg} at {where}.", _GIVE_JSON) from None
    except (ValueError, RecursionError):
        raise Refused("It is not JSON a program can read.", _GIVE_JSON) from None
    if not isinstance(document, dict):
        raise Refused("It is JSON but not an object.", 'Write `{"name": value}`.')
    return text


def credential(text: str) -> str:
    """A token as HTTP can carry it: visible ASCII and single spaces. The text is never shown."""
    if not re.fullmatch(r"[\x20-\x7e]+", text):
        raise Refused(
            "It holds a line break or another character that no token has.",
            "Store the secret again: one line, nothing before or after it.",
        )
    if "${{" in text or text.startswith("secrets."):
        raise Refused("It is the text of an expression, not its value.", "Write `${{ secrets.NAME }}`.")
    return text
