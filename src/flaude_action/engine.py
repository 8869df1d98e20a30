"""The Docker engine: pull a base, build, push, leave nothing of ours behind. The Docker SDK runs in threads.

Only loaded when something has to be built. What is built and why is `image`'s; what a stream's events say to
people is `build_progress`'s. It needs no BuildKit: the SDK speaks the classic builder's language, and every
engine understands it. https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import requests
import urllib3
from docker.errors import APIError, DockerException, InvalidVersion
from docker.utils import kwargs_from_env, version_lt

import docker
from flaude_action.build_context import DOCKERFILE_NAME
from flaude_action.engine_stream import EngineStream
from flaude_action.errors import ImageError
from flaude_action.image_errors import build_failed
from flaude_action.waiting import Deadline, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from flaude_action.build_progress import BuildProgress
    from flaude_action.errors import ImageBuildError
    from flaude_action.image_reference import Reference
    from flaude_action.registry import Credential

PLATFORM: Final = "linux/amd64"
OLDEST_API: Final = "1.41"
"""Docker 20.10's, the oldest engine that is tested."""
ANSWER_S: Final = 5
SILENCE_S: Final = 3600
"""A stream may be silent for this long; the callers' own limits are shorter."""
HALT_S: Final = 4.0
"""How long a stopped build may take to end, its command killed, before its connection is cut."""
_BROKEN = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_STEP = re.compile(r"Step \d+/\d+ : (\w+)")
_IMAGE = re.compile(r" ---> ([0-9a-f]{12})\n?")
_CONTAINER = re.compile(r" ---> Running in ([0-9a-f]{12})\n?")


class EngineRefused(Exception):
    """The engine did not pull or push; `said` is its own, or the registry's, untrusted text."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class Engine:
    """The engine that DOCKER_HOST names, or this computer's. Use as an async context manager.

    At the block's end every image built in it is removed, unless `keep` gave it a name. A cancelled call ends
    the engine's work and removes its containers and layers before it returns.
    """

    def __init__(self, progress: BuildProgress) -> None:
        self._progress = progress
        self._made: list[str] = []
        self._version = ""

    async def __aenter__(self) -> Engine:
        """Raises ImageError `engine_missing` when no engine answers or it is too old."""
        self._api = await asyncio.to_thread(self._connect, ANSWER_S)
        self._version = self._api.api_version
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await finish(asyncio.to_thread(self._remove_made))

    async def pull(self, image: Reference, credential: Credential | None) -> None:
        """Raises EngineRefused."""
        self._progress.begin(f"Pulling {image}")
        await self._transfer(
            lambda api: api.pull(
                f"{image}", stream=True, decode=True, platform=PLATFORM, auth_config=_auth(credential)
            )
        )

    async def build(self, context: BinaryIO, build_args: Mapping[str, str]) -> str:
        """Build from a tar that `build_context` made; the image's id. Raises ImageBuildError.

        Nothing built before is used: another job on this engine may be removing it just now.
        """
        before = await self._ask(_everything)
        trace = _Trace()
        stream = self._stream(
            lambda api: api.build(
                fileobj=context, custom_context=True, dockerfile=DOCKERFILE_NAME, buildargs=dict(build_args),
                platform=PLATFORM, nocache=True, rm=True, forcerm=True, decode=True, timeout=SILENCE_S,
            )
        )  # fmt: skip
        try:
            async with stream:
                try:
                    await self._follow(stream, trace)
                except asyncio.CancelledError:
                    await finish(self._halt(stream, trace, before))
                    raise
            self._made.append(trace.result)
        finally:
            await finish(asyncio.to_thread(trace.sweep, self._api, before, self._made))
        return trace.result

    async def keep(self, image: str, name: Reference) -> None:
        """Give an image built here a name and leave it in the engine."""
        await self._ask(lambda api: api.tag(image, name.name, name.tag, force=True))
        self._made.remove(image)

    async def push(self, image: str, name: Reference, credential: Credential | None) -> str:
        """Push under a name; the digest that the registry now has it by. Raises EngineRefused."""
        await self._ask(lambda api: api.tag(image, name.name, name.tag, force=True))
        return await self.push_kept(name, credential)

    async def push_kept(self, name: Reference, credential: Credential | None) -> str:
        """Push what has this name in the engine. Raises EngineRefused."""
        self._progress.begin(f"Pushing {name}")
        digest = await self._transfer(
            lambda api: api.push(
                name.name, tag=name.tag, stream=True, decode=True, auth_config=_auth(credential)
            )
        )
        if not digest:
            raise EngineRefused("the engine did not tell the digest")
        return digest

    async def _transfer(self, call: Callable[[docker.APIClient], Iterable[dict[str, Any]]]) -> str:
        """Follow a pull or a push; the digest, if it tells one."""
        digest = ""
        try:
            async with self._stream(call) as stream:
                async for event in stream:
                    self._progress.tell(event)
                    if "error" in event:
                        raise EngineRefused(str(event["error"]))
                    aux = event.get("aux")
                    digest = str(aux.get("Digest", "")) if isinstance(aux, dict) else digest
        except APIError as error:
            self._progress.say(said := str(error.explanation or error))
            raise EngineRefused(said) from error
        except _BROKEN as error:
            raise _gone(error) from error
        return digest

    async def _follow(self, stream: EngineStream, trace: _Trace) -> None:
        try:
            async for event in stream:
                self._progress.tell(event)
                trace.note(event)
                if "error" in event:
                    raise self._failed(event.get("errorDetail"), str(event["error"]))
        except APIError as error:  # refused as a whole: no Dockerfile, or none that can be read
            self._progress.say(said := str(error.explanation or error))
            raise self._failed(None, said) from error
        except _BROKEN as error:
            raise _gone(error) from error
        if not trace.result:
            raise self._failed(None, "the engine did not tell what it built")

    def _failed(self, detail: object, said: str) -> ImageBuildError:
        code = detail.get("code") if isinstance(detail, dict) else None
        return build_failed(code if isinstance(code, int) and code else 1, said, self._progress.tail)

    async def _halt(self, stream: EngineStream, trace: _Trace, before: frozenset[str]) -> None:
        """Kill the running command, and the next should one begin, until the build has failed by itself.

        A build whose connection is cut tells no more what it made.
        """
        deadline = Deadline.after(HALT_S)
        while not deadline.passed:
            if trace.container and trace.container not in before:
                await asyncio.to_thread(_try, self._api.kill, trace.container)
            try:
                async with asyncio.timeout(0.1):
                    trace.note(await anext(stream))
            except TimeoutError:
                continue
            except (StopAsyncIteration, *_BROKEN):
                return

    def _stream(self, call: Callable[[docker.APIClient], Iterable[dict[str, Any]]]) -> EngineStream:
        return EngineStream(lambda: self._connect(SILENCE_S), call)

    async def _ask(self, question: Callable[[docker.APIClient], Any]) -> Any:
        try:
            return await asyncio.to_thread(question, self._api)
        except APIError as error:
            raise EngineRefused(str(error.explanation or error)) from error
        except _BROKEN as error:
            raise _gone(error) from error

    def _connect(self, timeout: int) -> docker.APIClient:
        try:
            api = docker.APIClient(version=self._version or None, timeout=timeout, **kwargs_from_env())
        except InvalidVersion as error:
            raise _too_old(str(error)) from error
        except DockerException as error:
            raise ImageError("engine_missing", dev=str(error)) from error
        if version_lt(api.api_version, OLDEST_API):
            raise _too_old(f"API version {api.api_version}")
        return api

    def _remove_made(self) -> None:
        for image in reversed(self._made):
            _try(self._api.remove_image, image)
        self._api.close()


@dataclass
class _Trace:
    """What a build made so far, read from its stream.

    A command's output can look like the builder's own lines, so ids found there are only believed of things
    that were not there before, and nothing that has a name is removed.
    """

    result: str = ""
    container: str = ""
    containers: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    at_base: bool = False

    def note(self, event: Mapping[str, Any]) -> None:
        text, aux = event.get("stream"), event.get("aux")
        if isinstance(aux, dict) and isinstance(made := aux.get("ID"), str):
            self.result = made
            self.images.append(_short(made))
        if not isinstance(text, str):
            return
        if step := _STEP.match(text):
            self.at_base = step[1].upper() == "FROM"
        elif running := _CONTAINER.fullmatch(text):
            self.container = running[1]
            self.containers.append(running[1])
        elif (image := _IMAGE.fullmatch(text)) and not self.at_base:
            self.images.append(image[1])

    def sweep(self, api: docker.APIClient, before: frozenset[str], kept: list[str]) -> None:
        """Remove what is left of the build but what is kept: containers, and layers nothing is built on."""
        for container in self.containers:
            if container not in before:
                _try(api.remove_container, container, v=True, force=True)
        for image in reversed(self.images):
            if image in before or image in map(_short, kept):
                continue
            found = _try(api.inspect_image, image)
            if found and not found.get("RepoTags") and not found.get("RepoDigests"):
                _try(api.remove_image, image)


def _everything(api: docker.APIClient) -> frozenset[str]:
    """The short ids of all images and containers."""
    containers = [container["Id"] for container in api.containers(all=True, quiet=True)]
    return frozenset(map(_short, [*api.images(all=True, quiet=True), *containers]))


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]


def _try(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Clean up as far as it goes: what is gone, or used by others, is none of ours any more."""
    try:
        return call(*args, **kwargs)
    except _BROKEN:
        return None


def _auth(credential: Credential | None) -> dict[str, str] | None:
    return {"username": credential[0], "password": credential[1]} if credential else None


def _gone(error: BaseException) -> ImageError:
    return ImageError(
        "engine_missing", details="It stopped answering.", dev=f"{type(error).__name__}: {error}"
    )


def _too_old(said: str) -> ImageError:
    return ImageError("engine_missing", "The Docker engine here is too old to build the image.", dev=said)
