"""Which values of `env` are credentials for sure: one in the patch withholds it, and the step is red.

Both mistakes are dear: a credential that is handed on is lost, and so is the work of a run whose patch is
withheld for a setting. So it is asked what the value looks like, and then what its name says. What is merely
hidden in the log is a wider choice, and `env_input`'s.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flaude_action.credential_shapes import GIVEN, URL, has_shape, is_plain, is_random, login_counts
from flaude_action.secret_forms import SHORTEST_FORM

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDENTIAL_WORD = re.compile(
    r"(?:[A-Z0-9]*(?:PASSWORD|PASSWD|PASSPHRASE|PASSCODE|SECRET|TOKEN|CREDENTIAL|WEBHOOK)"
    r"|(?:API|APP|ACCESS|ACCOUNT|AUTH|DEPLOY|ENCRYPTION|LICENSE|MASTER|PRIVATE|SECRET|SERVICE|SHARED|SIGNING"
    r"|SSH|STORAGE)?KEY|(?:ADMIN|DB|MYSQL|PG|ROOT|SMTP|SSH|USER)?PASS|(?:DB|MYSQL|PG)?PWD|O?AUTH|PAT|DSN|SAS"
    r"|JWT|CRED|COOKIE|BEARER|AUTHORIZATION|KUBECONFIG|NETRC)S?[0-9]*"
)
# The last word of a name is what the value is: a KEY_PATH is a path.
_TOPICS = re.compile(
    r"ALGORITHM|ARN|AUDIENCE|BYPASS|CLASS|CONTEXT|COUNT|DIR|DIRECTORY|DOMAIN|ENABLED|ENDPOINT|ENV|EXPIRY"
    r"|FILE|FILENAME|FOLDER|FORMAT|GROUP|HEADER|HOST|HOSTNAME|HOURS|ID|IDS|IMAGE|ISSUER|KIND|LAYOUT"
    r"|LENGTH|LEVEL|LIMIT|LOCATION|MANAGER|METHOD|MINUTES|MODE|MODEL|NAME|NAMES|NAMESPACE|OWNER|PATH"
    r"|PATHS|PATTERN|POLICY|PORT|PREFIX|PROJECT|PROVIDER|REALM|REGION|REGISTRY|ROLE|SCOPE|SCOPES|SECONDS"
    r"|SERVER|SERVICE|SIZE|SOCK|STORE|STRATEGY|SUFFIX|TAG|TIMEOUT|TTL|TYPE|URI|URL|USER|USERNAME|VERSION"
    r"|ZONE"
)
# Keys that open nothing: what precedes the word KEY.
_OPEN_KEYS = re.compile(
    r"ANSWER|CACHE|FOREIGN|GROUP|OBJECT|PARTITION|PRIMARY|PROJECT|PUBLIC|PUBLISHABLE|ROUTING|SORT"
)
# What machines name things by looks like dice, and is told to everybody.
_IDENTIFIERS = re.compile(
    r"AFTER|BASE|BEFORE|CACHE|CHECKSUM|COMMIT|DIGEST|ETAG|FINGERPRINT|HASH|HEAD|ID|IDS|IMAGE|INTEGRITY"
    r"|NAME|PUBLIC|PUBLISHABLE|REF|REV|REVISION|SHA|SHA1|SHA256|SHA512|TAG|VERSION"
)
_ESCAPED_SPACE = re.compile(r"\\[nrt]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

_PAIR = re.compile(
    r"""(?:["']?([A-Za-z_][\w-]*)["']?[ \t]*(?:=|:(?=[ \t"'])|(?<=password)(?=[ \t]))[ \t]*)?"""
    r"""["']?([^\s"',;{\[(][^\s"',;]*)"""
)


def is_credential(name: str, value: str) -> bool:
    """Whether that this value stands in a file proves that a credential does."""
    value = value.strip()
    if len(value) < SHORTEST_FORM:
        return False
    words = _words(name)
    if len(value.splitlines()) > 1:  # never a URL, whatever it contains; its parts are looked at one by one
        return _says_credential(words) or "PRIVATE KEY-----" in value
    if has_shape(words, value) or (is_random(value) and not any(map(_IDENTIFIERS.fullmatch, words))):
        return True
    return _says_credential(words) and not is_plain(value)


def credential_parts(value: str) -> list[str]:
    """Credentials within a value of more than one word: a kubeconfig's token, a password of a connection.

    Ends of lines may be written as JSON has them.
    """
    value = _ESCAPED_SPACE.sub("\n", value).strip()
    found = [part for named, part in _pairs(value) if part != value and is_credential(named, part)]
    return list(dict.fromkeys(found))


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    for name, word in _PAIR.findall(value) if not URL.fullmatch(value) else [("", value)]:
        yield name, word
        if url := URL.fullmatch(word):
            if login_counts(url) and url[1].partition(":")[2]:
                yield "PASSWORD", url[1].partition(":")[2]
            for given in GIVEN.findall(word):
                yield "TOKEN", given


def _words(name: str) -> list[str]:
    return _CAMEL.sub("_", name).upper().replace("-", "_").strip("_").split("_")


def _says_credential(words: list[str]) -> bool:
    """Whole words count: COMPASS is no PASS. What the last one says it is about, that it is."""
    if _TOPICS.fullmatch(words[-1]):
        return False
    pairs = zip(["", *words], words, strict=False)
    said = ((before, word) for before, word in pairs if _CREDENTIAL_WORD.fullmatch(word))
    return any(word not in {"KEY", "KEYS"} or not _OPEN_KEYS.fullmatch(before) for before, word in said)
