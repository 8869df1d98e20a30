"""The input `env`: a YAML mapping of names to texts, and which of the values are masked like secrets.

Everything the agent is told this way it can read; what may never go to a machine is found in `inputs`.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from flaude_action.env_credentials import is_credential
from flaude_action.input_values import is_text
from flaude_action.refused import Refused
from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

ENV_TEXT_CHARS = 64 * 1024
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED_ENV = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|TMPDIR|BASH_ENV|ENV|IFS|LD_.*|FLAUDE_.*|FLY_.*"
    r"|ANTHROPIC_(?:API_KEY|AUTH_TOKEN|BASE_URL|CUSTOM_HEADERS)|CLAUDE_CODE_OAUTH_TOKEN"
    r"|GITHUB_TOKEN|GH_TOKEN|IS_SANDBOX"
    r"|CLAUDE_CODE_(?:PROVIDER_MANAGED_BY_HOST|DISABLE_FILE_MENTIONS)"
)
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|KEY|PASS|CREDENTIAL|AUTH(?!OR(?:S?$|S?_))|DSN|PRIVATE|WEBHOOK", re.IGNORECASE
)
# Masked, these would be taken out of everything the step says.
_SETTING = re.compile(r"[0-9]{1,7}|true|false|none|null", re.IGNORECASE)


def environment(text: str) -> dict[str, str]:
    """A YAML mapping of names to scalars, each as it is written: `1.10` and `yes` stay what they are."""
    if len(text) > ENV_TEXT_CHARS:
        raise Refused(f"It has {len(text)} characters, {ENV_TEXT_CHARS} are allowed.", "Use files for data.")
    import yaml  # only `env` needs it, and the start of every run is timed

    try:
        loader = yaml.BaseLoader(text)  # makes nothing but text
        node = loader.get_single_node()
        document: Any = loader.construct_document(node) if isinstance(node, yaml.MappingNode) else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Refused(f"It is not YAML{where}.", "Write one `NAME: value` a line.") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Refused("It is not YAML.", "Write one `NAME: value` a line.") from None
    if not isinstance(node, yaml.MappingNode):
        raise Refused("It is not a mapping of names to values.", "Write one `NAME: value` a line.")
    # YAML forbids a second one of a name, and the parser keeps the last without a word.
    times = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
    twice = [quoted(name) for name, count in times.items() if count > 1]
    problems = [Refused(f"{name} is given twice.", "Keep one of them.") for name in twice]
    for name, value in document.items():
        problems += _wrong(name, value)
    if problems:
        raise Refused.of(problems)
    return dict(document)


def _wrong(name: object, value: object) -> Iterator[Refused]:
    """What is wrong with one variable."""
    shown = quoted(str(name))
    if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
        yield Refused(f"{shown} is not a variable's name.", "Use letters, digits and `_`.")
    elif _RESERVED_ENV.fullmatch(name.upper()):
        yield Refused(f"{shown} is reserved: the machine sets it.", "Use another name.")
    if not isinstance(value, str):
        yield Refused(f"The value of {shown} is a list or a mapping.", "Values are plain text.")
    elif not is_text(value):
        yield Refused(f"The value of {shown} holds NUL or no Unicode.", "Values are plain text.")


def looks_secret(name: str, value: str) -> bool:
    """Whether a value of `env` is masked: by its name, or as 8 characters that are no words and no number.

    That is wide on purpose, and includes all that is a credential for sure.
    """
    if _SECRET_NAME.search(name):
        return len(value) >= 4 and not _SETTING.fullmatch(value)
    mixed = len(value) >= 8 and any(map(str.isalpha, value)) and any(map(str.isdigit, value))
    return mixed or is_credential(name, value)
