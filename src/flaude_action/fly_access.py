"""Where Fly is and who we are to it: the hosts flyctl's variables name, and the header a token becomes.

Sending requests is `fly_http`'s; every form of a token, for hiding it, is `credential_forms`'.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import httpx

from flaude_action.credential_forms import MACAROON_PREFIXES, fly_parts
from flaude_action.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

FLAPS_URL: Final = "https://api.machines.dev"
API_URL: Final = "https://api.fly.io"


class BaseUrls(NamedTuple):
    """Where Fly is: the Machines API without `/v1`, and the host of the logs."""

    flaps: str = FLAPS_URL
    api: str = API_URL


class SecretText(Protocol):
    def get_secret_value(self) -> str: ...


def base_urls(environ: Mapping[str, str]) -> BaseUrls:
    """The hosts flyctl's own variables name. Raises ConfigError when one is no http(s) URL."""
    given = {"FLY_FLAPS_BASE_URL": FLAPS_URL, "FLY_API_BASE_URL": API_URL}
    flaps, api = (base_url(environ.get(name) or usual, name) for name, usual in given.items())
    return BaseUrls(flaps, api)


def authorization(token: str) -> str:
    """The Authorization header for a Fly token in any form people store it in.

    `FlyV1 <macaroons>` when a part starts like a macaroon, else `Bearer <token>`, whatever scheme (or two)
    the text carries: the logs host refuses `Bearer FlyV1`. A user's token beside macaroons is left out, as
    flyctl does for both hosts. Raises ConfigError on text that is no token.
    """
    parts = fly_parts(token)
    if not parts:
        raise ConfigError("secret_missing", "The Fly token is empty.")
    if not all(re.fullmatch(r"[!-~]+", part) for part in parts):
        raise ConfigError("machine_auth_failed", "The Fly token holds characters that no token has.")
    macaroons = [part for part in parts if part.startswith(MACAROON_PREFIXES)]
    return f"FlyV1 {','.join(macaroons)}" if macaroons else f"Bearer {','.join(parts)}"


def base_url(text: str, name: str) -> str:
    """A host's URL, checked; `name` is what the user knows it by: an environment variable, or the argument.

    Raises ConfigError.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise ConfigError(
            "config_invalid",
            f"{name} is not a URL like https://host or http://host:port.",
            hint=f"Correct {name}, or leave it out: then it is Fly itself.",
        )
    return text.rstrip("/")
