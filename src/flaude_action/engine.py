"""The Docker engine: pull a base, build, push, leave nothing of ours behind. The Docker SDK runs in threads.

Only loaded when something has to be built. What is built and why is `image`'s; what a stream's events say to
people is `build_progress`'s. It needs no BuildKit: the SDK speaks the classic builder's language, and every
engine understands it. https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from docker.errors import APIError, DockerException, InvalidConfigFile, InvalidVersion
from docker.utils import kwargs_from_env, version_lt

from flaude_action.build_context import DOCKERFILE_NAME
from flaude_action.engine_cleanup import attempt, sweep, sweep_until_quiet
from flaude_action.engine_client import EngineClient
from flaude_action.engine_stream import BROKEN, EngineStream
from flaude_action.errors import ImageError
from flaude_action.image_errors import build_failed
from flaude_action.image_reference import PLATFORM
from flaude_action.waiting import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    import docker
    from flaude_action.build_progress import BuildProgress
    from flaude_action.errors import ImageBuildError
    from flaude_action.image_reference import Reference
    from flaude_action.registry_credentials import Credential

OLDEST_API: Final = "1.41"
"""Docker 20.10's, the oldest engine that is tested."""
ANSWER_S: Final = 10
WORK_S: Final = 60
"""A busy engine takes its time to remove a large image."""
SILENCE_S: Final = 3600
"""A stream may be silent for this long; the callers' own limits are shorter."""
_STEP = re.compile(r"Step \d+/\d+ : (\w+)")


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
        self._api.timeout = WORK_S
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

    async def build(self, context: BinaryIO, build_args: Mapping[str, str], mark: str) -> str:
        """Build from a tar that `build_context` made; the image's id. Raises ImageBuildError.

        `mark` is a label that every stage of the Dockerfile begins with, and no other build has: by it all
        that is left of this one is found. Nothing built before is used: another job may be removing it.
        """
        stream = self._stream(
            lambda api: api.build(
                fileobj=context, custom_context=True, dockerfile=DOCKERFILE_NAME, buildargs=dict(build_args),
                platform=PLATFORM, nocache=True, rm=True, forcerm=True, decode=True, timeout=SILENCE_S,
            )
        )  # fmt: skip
        trace = _Trace()
        try:
            async with stream:
                await self._follow(stream, trace)
            self._made.append(trace.image)
        finally:
            await finish(self._sweep(mark, trace))
        return trace.image

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
                        raise self._refused(str(event["error"]))
                    aux = event.get("aux")
                    digest = str(aux.get("Digest", "")) if isinstance(aux, dict) else digest
        except APIError as error:
            self._progress.say(said := str(error.explanation or error))
            raise self._refused(said) from error
        except BROKEN as error:
            raise _gone(error) from error
        return digest

    def _refused(self, said: str) -> EngineRefused:
        return EngineRefused(self._progress.hide(said))

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
        except BROKEN as error:
            raise _gone(error) from error
        trace.ended = True
        if not trace.image:
            raise self._failed(None, "the engine did not tell what it built")

    def _failed(self, detail: object, said: str) -> ImageBuildError:
        code = detail.get("code") if isinstance(detail, dict) else None
        return build_failed(code if isinstance(code, int) else None, said, self._progress.tail)

    async def _sweep(self, mark: str, trace: _Trace) -> None:
        if not trace.ended:  # cancelled, or the connection was lost: the engine learns it a little later
            await sweep_until_quiet(self._api, mark, self._made, copying=trace.copying)
        await asyncio.to_thread(sweep, self._api, mark, self._made)

    def _stream(self, call: Callable[[docker.APIClient], Iterable[dict[str, Any]]]) -> EngineStream:
        return EngineStream(lambda: self._connect(SILENCE_S), call)

    async def _ask(self, question: Callable[[docker.APIClient], Any]) -> Any:
        try:
            return await asyncio.to_thread(question, self._api)
        except APIError as error:
            raise self._refused(str(error.explanation or error)) from error
        except BROKEN as error:
            raise _gone(error) from error

    def _connect(self, timeout: int) -> docker.APIClient:
        try:
            api = EngineClient(version=self._version or None, timeout=timeout, **kwargs_from_env())
        except InvalidVersion as error:
            raise _too_old(str(error)) from error
        except (InvalidConfigFile, ValueError) as error:
            broken = "Docker's own `config.json` cannot be read."
            raise ImageError("engine_missing", details=broken, dev=str(error)) from error
        except DockerException as error:
            raise ImageError("engine_missing", dev=str(error)) from error
        if version_lt(api.api_version, OLDEST_API):
            raise _too_old(f"API version {api.api_version}")
        return api

    def _remove_made(self) -> None:
        for image in reversed(self._made):
            attempt(self._api.remove_image, image)
        self._api.close()


@dataclass
class _Trace:
    """What a build tells of itself: the last stage's image, whether it is writing down a copy, its end."""

    image: str = ""
    copying: bool = False
    ended: bool = False

    def note(self, event: Mapping[str, Any]) -> None:
        text, aux = event.get("stream"), event.get("aux")
        if isinstance(aux, dict) and isinstance(made := aux.get("ID"), str):
            self.image = made
        self.ended = "error" in event
        if isinstance(text, str) and (step := _STEP.match(text)):
            self.copying = step[1].upper() in ("COPY", "ADD")


def _auth(credential: Credential | None) -> dict[str, str]:
    """Nobody's is none: without any the SDK would look for a login by itself."""
    return {"username": credential[0], "password": credential[1]} if credential else {}


def _gone(error: BaseException) -> ImageError:
    return ImageError(
        "engine_missing", details="It stopped answering.", dev=f"{type(error).__name__}: {error}"
    )


def _too_old(said: str) -> ImageError:
    return ImageError("engine_missing", "The Docker engine here is too old to build the image.", dev=said)
