"""Who we are to which registry: Fly's token for Fly's, and what `docker login` stored for the others.

Reading what it stored is `held_credentials`'.
https://github.com/docker/cli/blob/master/cli/config/configfile/file.go
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

from flaude_action.credential_forms import FLY_USER, basic, login_forms, not_covered
from flaude_action.fly_access import authorization
from flaude_action.held_credentials import docker_auths, stored_login
from flaude_action.image_reference import HUB
from flaude_action.redaction import Redactor
from flaude_action.secret_forms import is_word

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from flaude_action.secret import Secret

Credential = tuple[str, str]
"""User and password."""
Learned = Callable[[list[str]], object]
"""Is told of new secrets."""

FLY_REGISTRY: Final = "registry.fly.io"
_TOKEN: Final = re.compile(r"[!-~]{8,}")
_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")


def unheard(_: object) -> None:
    """Nobody wants to be told."""


def fly_registry(environ: Mapping[str, str] = os.environ) -> str:
    """The host of Fly's registry; flyctl's own variable may name another."""
    return environ.get("FLY_REGISTRY_HOST") or FLY_REGISTRY


def credentials(token: Secret | str | None, environ: Mapping[str, str] = os.environ) -> dict[str, Credential]:
    """By host. `token` is Fly's in any form people store it in; the registry takes it without scheme.

    Raises ConfigError for a text that is no token.
    """
    stored = _docker_config(environ)
    text = token if isinstance(token, str) else token.get_secret_value() if token else ""
    if text := text or environ.get("FLY_API_TOKEN", ""):
        stored[fly_registry(environ)] = (FLY_USER, authorization(text).partition(" ")[2])
    return stored


class Logins:
    """Our logins by host, and what registries granted for them: what a header needs, and no text may show.

    `learned` is told what is granted to a login of ours. What anybody is granted is no secret: a registry of
    somebody else's shall not choose what the log hides.
    """

    def __init__(self, known: Mapping[str, Credential], learned: Learned = unheard) -> None:
        self._known = dict(known)
        self._learned = learned
        self._granted: list[str] = []

    def basic(self, host: str) -> str:
        """The header for a host, "" when we are nobody there."""
        return "Basic " + basic(*self._known[host]) if host in self._known else ""

    def granted(self, host: str, document: Mapping[str, Any]) -> str:
        """The token in a token service's answer, which is a secret from now on.

        What no header could carry, or any log may hold by chance, is none.
        https://distribution.github.io/distribution/spec/auth/token/
        """
        given = [document.get(name) for name in ("token", "access_token", "refresh_token")]
        secrets = [
            text for text in given if isinstance(text, str) and _TOKEN.fullmatch(text) and not is_word(text)
        ]
        self._granted += secrets
        self.__dict__.pop("_redactor", None)
        if host in self._known:
            self._learned(secrets)
        token = given[0] or given[1]
        return token if isinstance(token, str) else ""

    def hide(self, text: str) -> str:
        """A text without all of these, in every form they are sent in."""
        return self._redactor.redact(text)

    @cached_property
    def _redactor(self) -> Redactor:
        """Made when it is needed: most registries have nothing to say."""
        forms = [form for pair in self._known.values() for form in login_forms(*pair)]
        return Redactor(not_covered([*forms, *self._granted]))


def _docker_config(environ: Mapping[str, str]) -> dict[str, Credential]:
    """What `docker login` wrote; a config that cannot be read is none. Credential helpers are not asked."""
    pairs = {_host(key): stored_login(entry) for key, entry in docker_auths(environ).items()}
    return {host: pair for host, pair in pairs.items() if pair[1]}


def _host(key: str) -> str:
    return HUB if key in _HUB_KEYS else key.split("://")[-1].split("/")[0]
