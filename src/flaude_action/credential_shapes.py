"""What credentials look like, and what settings do: `env_credentials` asks it of the values of `env`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flaude_action.secret_forms import SHORTEST_FORM, is_word

if TYPE_CHECKING:
    from collections.abc import Sequence

RANDOM_CHARS: Final = 20
"""As long as this, what mixes letters and digits like dice is a credential under any name."""
_VARIETY: Final = 6
_SLUG_CHARS: Final = 16


_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[oprsu]_[A-Za-z0-9]{16}|github_pat_\w{20}|(?:AKIA|ASIA)[A-Z0-9]{12}"
    r"|xox[abeprs]-[\w-]{10}|xapp-[\w-]{16}|sk-(?=[\w-]{0,99}[0-9])[\w-]{16}|[rs]k_(?:live|test)_\w{16}"
    r"|npm_[A-Za-z0-9]{20}|glpat-[\w-]{16}|AIza[\w-]{30}|ya29\.[\w-]{20}|eyJ[\w+/=-]{17}"
    r"|fm(?:1[ar]?|2)_[\w+/=-]{12}|fo1_[\w-]{12}|hv[bs]\.[\w-]{20}|dckr_pat_[\w-]{16}|pypi-[\w-]{40}"
    r"|SG\.[\w-]{16}|do[opr]_v1_[0-9a-f]{20}|hf_[A-Za-z0-9]{30}|AGE-SECRET-KEY-1[A-Z0-9]{20})"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY"
)
# In a connection's string or a URL's query.
GIVEN = re.compile(
    r"(?:^|[;&?\s])(?:pwd|pass|password|passwd|secret|token|access_token|auth|key|api_?key|code|sig|signature"
    r"|x-amz-signature|client_secret|accountkey|sharedaccesskey)\s?=\s?([^;&\s$<{*][^;&\s]{3,})",
    re.IGNORECASE,
)
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://(?:([^\s/?#@]*)@)?([^\s/?#@]*)([^\s?#]*)\S*")
_LOCAL = re.compile(r"(?:127\.0\.0\.1|\[::1\]|[^.]*)(?::[0-9]+)?")
_HOOKS = re.compile(
    r"://(?:hooks\.slack\.com/(?:services|workflows|triggers)|(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks"
    r"|[\w-]+\.webhook\.office\.com|outlook\.office\.com/webhook|api\.telegram\.org/bot)/?."
)
_SEPARATOR = re.compile(r"[^A-Za-z0-9]+")
_ORDINARY = re.compile(
    r"[A-Za-z]?[0-9]{0,8}|[0-9]{1,4}[A-Za-z]{1,8}|[0-9]{1,2}T[0-9]{1,2}"
    r"|(?:[A-Z]?[a-z]{2,15}|[A-Z]{2,15}(?![a-z]))(?:[A-Z][a-z]{2,15})*[0-9]{0,4}[a-z]{0,2}"
)
_PATH = re.compile(r"(?:~|\.{1,2}|[A-Za-z]:)[/\\]\S*|/[a-z]{2,15}/\S*")
_FILE = re.compile(r"\S+\.(?:cer|crt|env|ini|json|key|p12|p8|pem|pfx|pub|toml|txt|xml|ya?ml)")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:[:/][0-9]{1,5})?(?:,\S*)?")
# Long, of letters and digits, and no credential: a UUID, a version, a digest, an IPv6 address or MAC, an ARN,
# an address of mail, a host, an image with its registry, how every key of OpenSSH's begins.
_PUBLIC = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[v^~]?[0-9]{1,4}(?:\.[0-9]{1,6}){1,3}(?![0-9])\S{0,60}"
    r"|(?:\S+@)?sha(?:1|256|384|512)[:-]\S+|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,}(?:/[0-9]+)?|arn:\S+"
    r"|b3BlbnNzaC1rZXktdjEA\S*|[\w.+-]+@(?:[a-z0-9-]+\.)+[a-z]{2,}|(?:[a-z0-9-]+\.)+[a-z]{2,}(?::[0-9]+)?(?:/[a-z0-9._/-]+(?::[\w.-]+)?)?"
)


def has_shape(words: Sequence[str], value: str) -> bool:
    """Whether it is written as credentials are, by those who give them out or in a URL."""
    if _KNOWN.search(value) or GIVEN.search(value) or _HOOKS.search(value):
        return True
    url = URL.fullmatch(value)
    if not url:
        return False
    secret_path = any(word.endswith(("WEBHOOK", "HOOK", "TOKEN", "SECRET")) for word in words) and any(
        len(piece) >= SHORTEST_FORM and not _ORDINARY.fullmatch(piece) for piece in _SEPARATOR.split(url[3])
    )
    return secret_path or login_counts(url)


def login_counts(url: re.Match[str]) -> bool:
    """`postgres:postgres@localhost` is in every other test; a user alone is `git`, or a key like Sentry's."""
    user, colon, password = (url[1] or "").partition(":")
    if not colon:
        return is_random(user)
    return bool(password) and not (_LOCAL.fullmatch(url[2]) and is_word(password))


def is_random(value: str) -> bool:
    """Whether a word looks thrown with dice: most of it is neither words, nor numbers, nor both in turn."""
    if len(value) < RANDOM_CHARS or len(value.split()) != 1 or "://" in value:
        return False
    if "," in value:
        return any(map(is_random, value.split(",")))
    if not any(map(str.isalpha, value)) or not any(map(str.isdigit, value)) or len(set(value)) < _VARIETY:
        return False
    if _PATH.fullmatch(value) or _PUBLIC.fullmatch(value):
        return False
    pieces = _SEPARATOR.split(value)
    odd = sum(len(piece) for piece in pieces if not _ORDINARY.fullmatch(piece))
    return odd * 2 >= sum(map(len, pieces))


def is_plain(value: str) -> bool:
    """Whether it is as well a setting, although its name says credential: a word, a path, a URL, a slug."""
    if is_word(value) or _PATH.fullmatch(value) or URL.fullmatch(value) or _ADDRESS.fullmatch(value):
        return True
    pieces = _SEPARATOR.split(value)
    ordinary = len(value.split()) == 1 and all(map(_ORDINARY.fullmatch, pieces))
    return ordinary and len(pieces) > 1 and (len(value) < _SLUG_CHARS or bool(_FILE.fullmatch(value)))
