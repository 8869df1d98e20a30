"""What registries are asked: where a name points to, an image's labels, one more tag. Needs no engine.

How a question gets there is `registry_http`'s; which image is wanted, and what a refusal means for the user,
is `image`'s. Rules: https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from flaude_action.image_reference import PLATFORM
from flaude_action.registry_credentials import unheard
from flaude_action.registry_http import RegistryHttp, RegistryRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from flaude_action.image_reference import Reference
    from flaude_action.registry_credentials import Credential, Learned
    from flaude_action.registry_http import Answer

PATIENCE_S: Final = 30.0
"""How long one question may take in all, its repetitions included."""
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join(INDEXES + MANIFESTS)
_OS_AND_ARCHITECTURE = tuple(PLATFORM.split("/"))
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Registry:
    """Asks registries. `credentials` are by host, and `learned` is told what they are granted.

    Use as an async context manager. Every method raises RegistryRefused. A question that gets 429, 5xx or no
    answer is repeated within `patience_s` seconds.
    """

    def __init__(
        self,
        credentials: Mapping[str, Credential] | None = None,
        *,
        patience_s: float = PATIENCE_S,
        learned: Learned = unheard,
    ) -> None:
        self._http = RegistryHttp(credentials or {}, patience_s, learned)

    async def __aenter__(self) -> Registry:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.close()

    async def digest(self, image: Reference) -> str | None:
        """What the name points to now, None when the registry does not have it. One HEAD if all is well."""
        path = f"manifests/{image.digest or image.tag}"
        answer = await self._http.ask("HEAD", image, path, accept=_ACCEPT, missing_is_fine=True)
        if answer.status == 404:
            return None
        told = answer.headers.get("docker-content-digest", "")
        return told if _DIGEST.fullmatch(told) else (await self._manifest(image)).digest

    async def configuration(self, image: Reference) -> dict[str, Any]:
        """The configuration of the image's linux/amd64 form; 404 when that is missing."""
        manifest = (await self._manifest(image)).document()
        if isinstance(listed := manifest.get("manifests"), list):
            manifest = (await self._manifest(image.at(_amd64(listed)))).document()
        config = _digest_in(manifest.get("config"))
        document = (await self._http.ask("GET", image, f"blobs/{config}")).document(config)
        if (document.get("os"), document.get("architecture")) != _OS_AND_ARCHITECTURE:
            raise _no_amd64()
        return document

    async def labels(self, image: Reference) -> dict[str, str]:
        """The labels of the image's linux/amd64 form; 404 when that is missing."""
        settings = (await self.configuration(image)).get("config")
        labels = settings.get("Labels") if isinstance(settings, dict) else None
        pairs = labels.items() if isinstance(labels, dict) else ()
        return {key: value for key, value in pairs if isinstance(value, str)}

    async def add_tag(self, image: Reference, tag: str) -> None:
        """Make `tag` point at an image of the same repository."""
        manifest = await self._manifest(image)
        kind = manifest.headers.get("content-type", MANIFESTS[1])
        await self._http.ask("PUT", image, f"manifests/{tag}", content=manifest.body, content_type=kind)

    async def check_access(self, image: Reference) -> None:
        """Ask for nothing, to learn whether the credentials are taken."""
        await self._http.ask("GET", image, "/v2/")

    async def check_write(self, image: Reference) -> None:
        """Begin an upload to the repository and give it up again, to learn whether we may."""
        begun = (await self._http.ask("POST", image, "blobs/uploads/")).headers.get("location", "")
        if begun:
            with contextlib.suppress(RegistryRefused):  # then the registry forgets it by itself, some day
                await self._http.ask("DELETE", image, begun, repeat=False)

    async def _manifest(self, image: Reference) -> Answer:
        """A manifest or an index: a JSON object that has the digest it was asked for by."""
        path = f"manifests/{image.digest or image.tag}"
        answer = await self._http.ask("GET", image, path, accept=_ACCEPT)
        answer.document(image.digest)
        return answer


def _digest_in(descriptor: object) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RegistryRefused(200, "the manifest is of a form we do not know")
    return digest


def _amd64(listed: list[Any]) -> str:
    for one in listed:
        platform = one.get("platform") if isinstance(one, dict) else None
        if not isinstance(platform, dict):
            continue
        if (platform.get("os"), platform.get("architecture")) == _OS_AND_ARCHITECTURE:
            return _digest_in(one)
    raise _no_amd64()


def _no_amd64() -> RegistryRefused:
    return RegistryRefused(404, f"the image has no {PLATFORM} form")
