"""Container registries over HTTP: what a name points to, an image's labels, one more tag. Needs no engine.

Which image is wanted, and what a refusal means for the user, is `image`'s.
Rules: https://distribution.github.io/distribution/spec/api/ and, for the challenges,
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from flaude_action.image_reference import is_loopback
from flaude_action.waiting import Deadline, pause

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from flaude_action.image_reference import Reference

PATIENCE_S: Final = 30.0
"""How long one question may take in all, its repetitions included."""
REQUEST_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.5
DOCUMENT_BYTES: Final = 8 * 1024 * 1024
SAID_CHARS: Final = 500

INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join(INDEXES + MANIFESTS)
_PLATFORM = ("linux", "amd64")
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Credential = tuple[str, str]
"""User and password."""


class RegistryRefused(Exception):
    """No good answer. `status` is HTTP's, 0 when none came; `said` is the registry's own, untrusted text."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {said}" if status else said)
        self.status = status
        self.said = said


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def said(self) -> str:
        """The first of the registry's errors, else the body's text."""
        try:
            error = json.loads(self.body)["errors"][0]
            text = f"{error.get('code', '')}: {error.get('message', '')}"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            text = self.body.decode("utf-8", "backslashreplace")
        return text.strip()[:SAID_CHARS] or "(no text)"


class Registry:
    """Asks registries. `credentials` are by host. Every method raises RegistryRefused.

    Use as an async context manager. A question that gets 429, 5xx or no answer is repeated within
    `patience_s` seconds.
    """

    def __init__(
        self, credentials: Mapping[str, Credential] | None = None, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._credentials = dict(credentials or {})
        self._patience_s = patience_s
        self._grants: dict[tuple[str, str, bool], str] = {}
        # A blob may lie elsewhere: httpx follows without our Authorization when the host is another.
        self._http = httpx.AsyncClient(
            follow_redirects=True,
            timeout=httpx.Timeout(min(REQUEST_S, patience_s)),
            headers={"user-agent": "flaude-action"},
            event_hooks={"request": [_only_tls]},
        )

    async def __aenter__(self) -> Registry:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def digest(self, image: Reference) -> str | None:
        """What the name points to now, None when the registry does not have it. One HEAD if all is well."""
        path = f"manifests/{image.digest or image.tag}"
        answer = await self._ask("HEAD", image, path, missing_is_fine=True)
        if answer.status == 404:
            return None
        told = answer.headers.get("docker-content-digest", "")
        return told if _DIGEST.fullmatch(told) else (await self._manifest(image))[0]

    async def labels(self, image: Reference) -> dict[str, str]:
        """The labels of the image's linux/amd64 form; 404 when that is missing."""
        _, manifest = await self._manifest(image)
        if isinstance(listed := manifest.get("manifests"), list):
            manifest = (await self._manifest(image.at(_amd64(listed))))[1]
        config = _digest_in(manifest.get("config"))
        answer = await self._ask("GET", image, f"blobs/{config}")
        document = _document(answer, config)
        if (document.get("os"), document.get("architecture")) != _PLATFORM:
            raise _no_amd64()
        settings = document.get("config")
        labels = settings.get("Labels") if isinstance(settings, dict) else None
        pairs = labels.items() if isinstance(labels, dict) else ()
        return {key: value for key, value in pairs if isinstance(value, str)}

    async def add_tag(self, image: Reference, tag: str) -> None:
        """Make `tag` point at an image of the same repository."""
        answer = await self._ask("GET", image, f"manifests/{image.digest or image.tag}")
        _document(answer, image.digest)
        kind = answer.headers.get("content-type", MANIFESTS[1])
        await self._ask("PUT", image, f"manifests/{tag}", content=answer.body, content_type=kind)

    async def check_access(self, image: Reference) -> None:
        """Ask for nothing, to learn whether the credentials are taken."""
        await self._ask("GET", image, "")

    async def check_write(self, image: Reference) -> None:
        """Begin an upload to the repository and give it up again, to learn whether we may."""
        answer = await self._ask("POST", image, "blobs/uploads/")
        with contextlib.suppress(RegistryRefused, httpx.HTTPError, httpx.InvalidURL):
            begun = httpx.URL(image.base_url).join(answer.headers.get("location", ""))
            await self._authorized(self._http.build_request("DELETE", begun), image)

    async def _manifest(self, image: Reference) -> tuple[str, dict[str, Any]]:
        answer = await self._ask("GET", image, f"manifests/{image.digest or image.tag}")
        document = _document(answer, image.digest)
        return image.digest or "sha256:" + hashlib.sha256(answer.body).hexdigest(), document

    async def _ask(
        self,
        method: str,
        image: Reference,
        path: str,
        *,
        content: bytes | None = None,
        content_type: str = "",
        missing_is_fine: bool = False,
    ) -> _Answer:
        """A good answer (or a 404, if that is one), after the challenge and the repetitions it takes."""
        url = f"{image.base_url}/v2/" + (f"{image.path}/{path}" if path else "")
        headers = {"accept": _ACCEPT} | ({"content-type": content_type} if content_type else {})
        request = self._http.build_request(method, url, headers=headers, content=content)
        deadline, rest_s = Deadline.after(self._patience_s), FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(deadline.left):
                    answer = await self._authorized(request, image)
                refused = RegistryRefused(answer.status, answer.said)
            except TimeoutError:
                raise RegistryRefused(0, f"no whole answer in {self._patience_s:g} seconds") from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                answer, refused = None, RegistryRefused(0, f"{type(error).__name__}: {error}")
            if answer is not None and (answer.status < 300 or (missing_is_fine and answer.status == 404)):
                return answer
            passing = refused.status in (0, 429) or refused.status >= 500
            if not passing or deadline.left <= rest_s:
                raise refused
            await pause(rest_s)
            rest_s *= 2

    async def _authorized(self, request: httpx.Request, image: Reference) -> _Answer:
        """Send with what we have for this host, and once more with what the registry's challenge asks for."""
        write = request.method not in ("HEAD", "GET")
        key = (image.host, image.path, write)
        credential = self._credentials.get(image.host)
        header = self._grants.get(key) or (_basic(credential) if credential else "")
        answer = await self._send(request, header)
        if answer.status != 401:
            return answer
        scheme, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
        asked = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
        if scheme.lower() != "bearer" or not asked.get("realm"):
            return answer  # Basic is what was sent already, when we have any
        granted = await self._token(image, asked, credential, write=write)
        if not granted:
            return answer
        self._grants[key] = f"Bearer {granted}"
        return await self._send(request, self._grants[key])

    async def _token(
        self, image: Reference, asked: Mapping[str, str], credential: Credential | None, *, write: bool
    ) -> str:
        """A token for this one repository, "" when the token service refuses us."""
        scope = asked.get("scope") or f"repository:{image.path}:pull{',push' if write else ''}"
        query = {"scope": scope} | ({"service": asked["service"]} if asked.get("service") else {})
        request = self._http.build_request("GET", httpx.URL(asked["realm"]).copy_merge_params(query))
        answer = await self._send(request, _basic(credential) if credential else "")
        if answer.status in (401, 403):
            return ""
        if answer.status >= 300:
            raise RegistryRefused(answer.status, answer.said)
        document = _document(answer, "")
        token = document.get("token") or document.get("access_token")
        return token if isinstance(token, str) else ""

    async def _send(self, request: httpx.Request, authorization: str) -> _Answer:
        request.headers.pop("authorization", None)
        if authorization:
            request.headers["authorization"] = authorization
        response = await self._http.send(request, stream=True)
        try:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > DOCUMENT_BYTES:
                    raise RegistryRefused(response.status_code, "the answer is too large")
        finally:
            await response.aclose()
        return _Answer(response.status_code, response.headers, body)


async def _only_tls(request: httpx.Request) -> None:
    """No registry, token service or redirect takes us off TLS, unless it is this computer."""
    if request.url.scheme != "https" and not is_loopback(request.url.netloc.decode("ascii")):
        raise RegistryRefused(0, "it leads to an address without TLS")


def _basic(credential: Credential) -> str:
    return "Basic " + base64.b64encode(":".join(credential).encode()).decode("ascii")


def _document(answer: _Answer, digest: str) -> dict[str, Any]:
    """The JSON object that was sent, its bytes checked against the digest it was asked for by."""
    if digest and "sha256:" + hashlib.sha256(answer.body).hexdigest() != digest:
        raise RegistryRefused(answer.status, "what was sent does not have the digest that was asked for")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryRefused(answer.status, "the answer is no JSON object")
    return document


def _digest_in(descriptor: object) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RegistryRefused(200, "the manifest is of a form we do not know")
    return digest


def _amd64(listed: list[Any]) -> str:
    for one in listed:
        platform = one.get("platform") if isinstance(one, dict) else None
        if isinstance(platform, dict) and (platform.get("os"), platform.get("architecture")) == _PLATFORM:
            return _digest_in(one)
    raise _no_amd64()


def _no_amd64() -> RegistryRefused:
    return RegistryRefused(404, "the image has no linux/amd64 form")
