"""Who we are to which registry: Fly's token for Fly's, and what `docker login` stored for the others.

https://github.com/docker/cli/blob/master/cli/config/configfile/file.go
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flaude_action.fly_access import authorization
from flaude_action.image_reference import HUB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flaude_action.registry_http import Credential
    from flaude_action.secret import Secret

FLY_REGISTRY: Final = "registry.fly.io"
FLY_USER: Final = "x"
_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
CONFIG_BYTES: Final = 1 << 20


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


def _docker_config(environ: Mapping[str, str]) -> dict[str, Credential]:
    """What `docker login` wrote; a config that cannot be read is none. Credential helpers are not asked."""
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/", ".docker")
    try:
        with Path(folder, "config.json").open("rb") as file:
            stored = json.loads(file.read(CONFIG_BYTES))["auths"]
        return {
            host: pair for key, entry in stored.items() if (pair := _pair(entry)) for host in [_host(key)]
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _host(key: str) -> str:
    return HUB if key in _HUB_KEYS else key.split("://")[-1].split("/")[0]


def _pair(entry: dict[str, str]) -> Credential | None:
    user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    return (user, password) if password else None
