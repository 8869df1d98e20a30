"""How a question to a container registry goes out and an answer comes in: logins, repetitions, limits.

Which questions there are is `registry`'s. Our credentials go to the registry they are for, and to the token
service that this registry itself names; not to where it redirects.
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from flaude_action.http_body import AS_IT_IS, BodyRefused, whole_answer
from flaude_action.image_reference import is_loopback
from flaude_action.json_document import json_of
from flaude_action.registry_credentials import Logins, unheard
from flaude_action.waiting import Deadline, pause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flaude_action.image_reference import Reference
    from flaude_action.registry_credentials import Credential, Learned

REQUEST_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.5
DOCUMENT_BYTES: Final = 4 * 1024 * 1024
"""Registries take no larger manifest.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests"""
REDIRECTS: Final = 10
SAID_CHARS: Final = 500
_CHALLENGE = re.compile(r'([\w-]+)(\s*=\s*(?:"([^"]*)"|([^\s,"]+)))?')
"""A scheme's name, or a parameter of the scheme that was named last."""


class RegistryRefused(Exception):
    """No good answer. `status` is HTTP's, 0 when none came; `said` is the registry's own, untrusted text.

    `passing` says whether the same question may be answered later.
    """

    def __init__(self, status: int, said: str, *, passing: bool = False) -> None:
        super().__init__(f"HTTP {status}: {said}" if status else said)
        self.status = status
        self.said = said
        self.passing = passing or status == 429 or status >= 500


@dataclass(frozen=True)
class Answer:
    """What came back, and from where: redirects are followed."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def said(self) -> str:
        """The first of the registry's errors, else the body's text."""
        try:
            error = json_of(self.body)["errors"][0]
            text = f"{error.get('code', '')}: {error.get('message', '')}"
        except (LookupError, TypeError, AttributeError):
            text = self.body.decode("utf-8", "backslashreplace")
        return text.strip()[:SAID_CHARS] or "(no text)"

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.body).hexdigest()

    def document(self, digest: str = "") -> dict[str, Any]:
        """The JSON object that was sent, its bytes checked against the digest it was asked for by."""
        if digest and self.digest != digest:
            raise RegistryRefused(self.status, "what was sent does not have the digest that was asked for")
        document = json_of(self.body)
        if not isinstance(document, dict):
            raise RegistryRefused(self.status, "the answer is no JSON object")
        return document


class RegistryHttp:
    """Sends requests. `credentials` are by host; one question takes `patience_s` seconds at most, in all.

    `learned` is as for `Logins`; no error quotes what it, or a login of ours, is.
    """

    def __init__(
        self, credentials: Mapping[str, Credential], patience_s: float, learned: Learned = unheard
    ) -> None:
        self._logins = Logins(credentials, learned)
        self._patience_s = patience_s
        self._grants: dict[tuple[str, str, bool], str] = {}
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(min(REQUEST_S, patience_s)),
            headers={"user-agent": "flaude-action", **AS_IT_IS},
            event_hooks={"request": [_only_tls]},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        image: Reference,
        path: str,
        *,
        accept: str = "*/*",
        content: bytes | None = None,
        content_type: str = "",
        missing_is_fine: bool = False,
        repeat: bool = True,
    ) -> Answer:
        """A good answer (or a 404, if that is one), after the challenge and the repetitions it takes.

        `path` begins at the repository, or is what the registry itself gave as a location.
        """
        repository = httpx.URL(f"{image.base_url}/v2/{image.path}/")
        url = _led_to(path, repository)
        if _origin(url) != _origin(repository):
            raise RegistryRefused(0, "it leads to another host")
        headers = {"accept": accept} | ({"content-type": content_type} if content_type else {})
        request = self._http.build_request(method, url, headers=headers, content=content)
        deadline, rest_s = Deadline.after(self._patience_s), FIRST_PAUSE_S
        try:
            async with asyncio.timeout(deadline.left):
                while True:
                    try:
                        return await self._good_answer(request, image, missing_is_fine=missing_is_fine)
                    except RegistryRefused as refused:
                        if not (repeat and refused.passing) or deadline.left <= rest_s:
                            raise
                    await pause(rest_s)
                    rest_s *= 2
        except TimeoutError:
            raise RegistryRefused(0, f"no whole answer in {self._patience_s:g} seconds") from None

    async def _good_answer(
        self, request: httpx.Request, image: Reference, *, missing_is_fine: bool
    ) -> Answer:
        answer = await self._authorized(request, image)
        if answer.status < 300 or (missing_is_fine and answer.status == 404):
            return answer
        raise RegistryRefused(answer.status, self._logins.hide(answer.said))

    async def _authorized(self, request: httpx.Request, image: Reference) -> Answer:
        """Send with what we have for this host, and once more with what the registry's challenge asks for."""
        write = request.method not in ("HEAD", "GET")
        key = (image.host, image.path, write)
        held = self._grants.get(key) or self._logins.basic(image.host)
        answer = await self._send(request, held)
        if answer.status not in (401, 403):
            return answer
        asked = _asked_for(request, answer)
        if held and not asked:
            # GitHub's registry denies Basic, and tells only who sends nothing what it wants instead.
            asked = _asked_for(request, await self._send(request, ""))
        if not asked:
            return answer
        granted = await self._token(image, asked, write=write)
        if not granted:
            return answer
        self._grants[key] = f"Bearer {granted}"
        return await self._send(request, self._grants[key])

    async def _token(self, image: Reference, asked: Mapping[str, str], *, write: bool) -> str:
        """A token for this one repository, "" when the token service refuses us."""
        scope = asked.get("scope") or f"repository:{image.path}:pull{',push' if write else ''}"
        query = {"scope": scope} | ({"service": asked["service"]} if asked.get("service") else {})
        request = self._http.build_request("GET", _led_to(asked["realm"]).copy_merge_params(query))
        answer = await self._send(request, self._logins.basic(image.host))
        if answer.status in (401, 403):
            return ""
        if answer.status >= 300:
            raise RegistryRefused(answer.status, self._logins.hide(answer.said))
        return self._logins.granted(image.host, answer.document())

    async def _send(self, request: httpx.Request, authorization: str) -> Answer:
        request.headers.pop("authorization", None)
        if authorization:
            request.headers["authorization"] = authorization
        try:
            response, body = await whole_answer(
                self._http, request, most=DOCUMENT_BYTES, seconds=self._patience_s, redirects=REDIRECTS
            )
        except BodyRefused as refused:
            raise RegistryRefused(refused.response.status_code, str(refused)) from refused
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = self._logins.hide(f"{type(error).__name__}: {error}")
            raise RegistryRefused(0, said, passing=True) from error
        return Answer(response.url, response.status_code, response.headers, body)


def bearer_challenge(header: str) -> dict[str, str]:
    """What a `www-authenticate` wants for a Bearer token; other schemes may stand before or after it."""
    scheme, asked = "", {}
    for found in _CHALLENGE.finditer(header):
        name, value, quoted, bare = found.groups("")
        if not value:
            scheme = name.lower()
        elif scheme == "bearer":
            asked[name.lower()] = quoted or bare
    return asked


def _asked_for(request: httpx.Request, answer: Answer) -> dict[str, str]:
    """What the registry wants for a token. Whoever it redirects to may want a login too: none of ours."""
    if answer.status != 401 or _origin(answer.url) != _origin(request.url):
        return {}
    asked = bearer_challenge(answer.headers.get("www-authenticate", ""))
    return asked if asked.get("realm") else {}


async def _only_tls(request: httpx.Request) -> None:
    """No registry, token service or redirect takes us off TLS, unless it is this computer."""
    if request.url.scheme != "https" and not is_loopback(request.url.netloc.decode("ascii")):
        raise RegistryRefused(0, "it leads to an address without TLS")


def _led_to(there: str, here: httpx.URL | str = "") -> httpx.URL:
    try:
        return httpx.URL(here).join(there)
    except (httpx.InvalidURL, ValueError):
        raise RegistryRefused(0, "it leads to an address that is none") from None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
