"""The credentials that the runner holds without being given them: in its environment, and by `docker login`.

A step masks them and lets none of them go to the machine. Which login goes to which registry is
`registry_credentials`'; what the inputs hold is `inputs`'.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from flaude_action.credential_forms import bearer_forms, fly_forms, git_forms, login_forms
from flaude_action.secret_forms import SHORTEST, is_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

RUNNER_ONLY: Final = {
    "FLY_API_TOKEN": fly_forms,
    "FLY_ACCESS_TOKEN": fly_forms,
    "ACTIONS_RUNTIME_TOKEN": bearer_forms,
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bearer_forms,
}
"""Variables whose tokens no machine is ever to have, not as a credential of its own either;
flyctl reads both of the first."""
_ALSO: Final[dict[str, Callable[[str], list[str]]]] = {
    "GITHUB_TOKEN": git_forms,
    "GH_TOKEN": git_forms,
    "GITHUB_ENTERPRISE_TOKEN": git_forms,
    "GH_ENTERPRISE_TOKEN": git_forms,
    "ANTHROPIC_API_KEY": bearer_forms,
    "ANTHROPIC_AUTH_TOKEN": bearer_forms,
    "CLAUDE_CODE_OAUTH_TOKEN": bearer_forms,
}
"""Variables whose tokens may be a machine's own credential, and are in no other text for it."""
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
DOCKER_LOGIN: Final = "an earlier `docker login`"
PROXY_LOGIN: Final = "the proxy's login"
CONFIG_BYTES: Final = 1 << 20


def held_credentials(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """The forms of each credential, by what it is called in a sentence: `` `FLY_API_TOKEN` ``."""
    found = {
        f"`{name}`": forms(value)
        for name, forms in (RUNNER_ONLY | _ALSO).items()
        if (value := environ.get(name, "").strip())
    }
    for name, logins in ((DOCKER_LOGIN, docker_logins(environ).values()), (PROXY_LOGIN, _proxies(environ))):
        if forms_of_all := [form for secrets in logins for form in secrets]:
            found[name] = list(dict.fromkeys(forms_of_all))
    return found


def told_apart(held: Mapping[str, list[str]], known: set[str]) -> dict[str, list[str]]:
    """What tells that a text holds one of them, and not one that is known by another name.

    A password that is a plain word is left out: one that stands in a prompt tells nothing.
    """
    apart = {name: [form for form in forms if form not in known and not is_word(form)]
             for name, forms in held.items()}  # fmt: skip
    return {name: forms for name, forms in apart.items() if forms}


def docker_logins(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """What `docker login` stored, every form of it, by the registry as Docker names it.

    Of a config that cannot be read there is none; credential helpers are not asked.
    https://github.com/docker/cli/blob/master/cli/config/types/authconfig.go
    """
    logins = {}
    for key, entry in docker_auths(environ).items():
        user, password = stored_login(entry)
        tokens = [entry.get(name) for name in ("auth", "identitytoken", "registrytoken")]
        found = [token for token in tokens if isinstance(token, str)]
        found += login_forms(user, password) if password else []
        logins[key] = [form for form in found if len(form) >= SHORTEST]
    return logins


def docker_auths(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The entries of `auths` in Docker's own configuration, those that are objects."""
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/", ".docker")
    try:
        with Path(folder, "config.json").open("rb") as file:
            stored = json.loads(file.read(CONFIG_BYTES))["auths"]
        return {key: entry for key, entry in stored.items() if isinstance(entry, dict)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def stored_login(entry: Mapping[str, Any]) -> tuple[str, str]:
    """User and password of an entry; both are "" when it has none that can be read."""
    try:
        user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except (ValueError, TypeError):
        user = password = ""
    if password:
        return user, password
    pair = entry.get("username") or user, entry.get("password")  # older clients wrote the two by themselves
    return (str(pair[0]), pair[1]) if isinstance(pair[1], str) else ("", "")


def _proxies(environ: Mapping[str, str]) -> Iterator[list[str]]:
    """The logins that stand in the URLs of proxies; an error may quote such a URL."""
    for name in (*_PROXIES, *map(str.lower, _PROXIES)):
        try:
            parts = urlsplit(environ.get(name, ""))
        except ValueError:
            continue
        if parts.password:
            yield [parts.password, *login_forms(unquote(parts.username or ""), unquote(parts.password))]
