"""Every form in which a credential is stored, sent or taken apart, and which texts hold one of them.

A Fly token is cut and joined before it is sent, a password becomes a header; who quotes what was sent quotes
these. How each of them may be written (base64, URLs, JSON) is `redaction`'s; which credentials there are
besides the inputs is `held_credentials`'.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from flaude_action.redaction import bared, searched
from flaude_action.secret_forms import SHORTEST_FORM, forms
from flaude_action.untrusted import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MACAROON_PREFIXES: Final = ("fm1r_", "fm1a_", "fm2_")
FLY_USER: Final = "x"
"""Who we are to Fly's registry, whatever the token."""
GIT_USER: Final = "x-access-token"
"""Who a token of GitHub's is to its git host: `flaude_guest.fetch` sends it so."""
_SCHEME = re.compile(r"(?:bearer|flyv1)(?:\s+|$)", re.IGNORECASE)
_MACAROON = re.compile(r"fm(?:1r|1a|2)_[A-Za-z0-9+/=_-]+")
_AROUND = " \t\r\n\v\f\"'`;"
_URL_SAFE = str.maketrans("-_", "+/")
_PART_END = re.compile(r"[,\r\n]")


def fly_parts(text: str) -> list[str]:
    """What a Fly token consists of, without the scheme (or two) that the text carries."""
    return [part.strip() for part in _without_scheme(text.strip()).split(",") if part.strip()]


def fly_forms(text: str) -> list[str]:
    """A Fly token as it is stored, as it is sent, each part of it, and as the registry's login.

    Nothing needs to be right about the text: quotes around it, line ends in it and what else makes it no
    token hide none of its parts. A part shorter than 8 characters is known only together with the others.
    """
    parts = [_bare_part(part) for part in _PART_END.split(text)]
    parts = [part for part in parts if part]
    whole = [",".join(fly_parts(text)), ",".join(parts)]
    macaroons = [part for part in parts if part.startswith(MACAROON_PREFIXES)]
    sent = ",".join(macaroons or parts)
    alone = [part for part in (*parts, *_MACAROON.findall(text)) if len(part) >= SHORTEST_FORM]
    scheme = "FlyV1" if macaroons else "Bearer"
    headers = [f"{scheme} {sent}"] if sent else []
    logins = [form for each in {sent, whole[0]} - {""} for form in _sent_logins(FLY_USER, each)]
    return _each_once([text, *whole, sent, *alone, *headers, *sorted(logins)], in_lines=text)


def bearer_forms(text: str) -> list[str]:
    """A token that is sent as `Bearer`, or bare in a header of its own."""
    return _each_once([text, f"Bearer {text}"], in_lines=text)


def git_forms(text: str) -> list[str]:
    """A token of GitHub's, as its API takes it, and as git sends it."""
    return _each_once([*bearer_forms(text), basic(GIT_USER, text)], in_lines=text)


def login_forms(user: str, password: str) -> list[str]:
    """The password of a registry, in the header a registry gets, and in the one the Docker engine gets."""
    token = fly_forms(password) if user == FLY_USER else []
    return list(dict.fromkeys([password, *_sent_logins(user, password), *token]))


def basic(user: str, password: str) -> str:
    """What stands after `Basic` in a header. https://www.rfc-editor.org/rfc/rfc7617"""
    return base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogatepass")).decode("ascii")


def _sent_logins(user: str, password: str) -> list[str]:
    """https://docs.docker.com/reference/api/engine/version/v1.41/#section/Authentication"""
    document = json.dumps({"username": user, "password": password}).encode("ascii")
    return [basic(user, password), base64.urlsafe_b64encode(document).decode("ascii")]


_FORMS = {
    "anthropic_api_key": bearer_forms,
    "claude_code_oauth_token": bearer_forms,
    "github_token": git_forms,
    "clone_token": git_forms,
    "fly_api_token": fly_forms,
}
SECRET_INPUTS: Final = tuple(_FORMS)
"""The inputs that are credentials."""


def forms_of(name: str, text: str) -> list[str]:
    """The forms of what a secret input holds, the text itself first."""
    return _FORMS[name](text)


def holders(texts: Mapping[str, str], credentials: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """`(text's name, credential's name)` wherever a text holds a form of a credential.

    Found is what `redaction` would find: also encoded, wrapped over lines, or with invisible characters.
    Forms shorter than 8 characters prove nothing.
    """
    known = {name: _searched_for(each) for name, each in credentials.items()}
    for field, text in texts.items():
        bare = searched(text)
        for name, wanted in known.items():
            if any(form in each for form in wanted for each in bare):
                yield field, name


def _searched_for(secrets: Iterable[str]) -> set[str]:
    found = {bared(form) for secret in secrets for form in forms(visible(secret).strip())}
    return {form for form in found if len(form) >= SHORTEST_FORM}


def all_texts(value: Any) -> str:
    """Every text in a value, one a line; those in a JSON object too, which may spell letters otherwise."""
    return "\n".join(_texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if value.lstrip().startswith("{"):
            with suppress(ValueError, RecursionError):
                yield from _texts(json.loads(value))
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from (*_texts(name), *_texts(each))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif hasattr(value, "get_secret_value"):
        yield from _texts(value.get_secret_value())


def not_covered(secrets: Iterable[str]) -> list[str]:
    """Those of which something is left when all the others are taken out of them.

    Hiding these hides all: of a token whose every part is hidden a scheme and commas are left, and of a login
    the user. The fewer there are, the sooner a step's text is searched.
    """
    kept: list[str] = []
    for secret in sorted(dict.fromkeys(secrets), key=len):
        long = [other for other in kept if len(other) >= SHORTEST_FORM]
        rest = secret
        for other in long:
            rest = rest.replace(other, "")
        encoded = _decoded(secret)
        if any(other in encoded for other in long):
            continue
        left = _bare_part(rest.replace(",", " ")).strip()
        user = left.endswith(":") and len(left.split()) == 1  # not the rest of a text of many words
        if rest == secret or (left and not user):
            kept.append(secret)
    return kept


def _decoded(secret: str) -> str:
    try:
        return base64.b64decode(secret.translate(_URL_SAFE), validate=True).decode()
    except ValueError:
        return ""


def _without_scheme(text: str) -> str:
    while (scheme := _SCHEME.match(text)) is not None:
        text = text[scheme.end() :]
    return text


def _bare_part(text: str) -> str:
    """Without quotes, white space and schemes, however they stand around it."""
    bare = ""
    while bare != text:
        bare, text = text, _without_scheme(text.strip(_AROUND))
    return bare


def _each_once(found: Iterable[str], *, in_lines: str) -> list[str]:
    """In order; of a text of several lines also what they are joined, as who took them in may have done."""
    joined = ["".join(in_lines.split())] if len(in_lines.splitlines()) > 1 else []
    return [form for form in dict.fromkeys((*found, *joined)) if form]
