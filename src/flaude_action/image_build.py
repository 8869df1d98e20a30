"""Making an image that no registry has yet: pull its bases, build, push.

Only loaded when that is so. Which image, and under what name, is `image`'s; the engine is `engine`'s.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from typing import TYPE_CHECKING, Final

from flaude_action.build_context import write_tar
from flaude_action.build_progress import BuildProgress
from flaude_action.dockerfile import labelled, pinned
from flaude_action.engine import Engine, EngineRefused
from flaude_action.image_errors import build_too_slow, not_packed, pull_failed, push_failed, status_in
from flaude_action.image_recipe import BASE_ARGUMENT
from flaude_action.registry_credentials import Logins
from flaude_action.registry_http import RegistryRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flaude_action.image_recipe import Build, Recipe
    from flaude_action.image_reference import Reference
    from flaude_action.registry import Registry
    from flaude_action.registry_credentials import Credential

BUILD_LABEL: Final = "flaude.build"
"""Image label: the one build that made it, by a random number."""


async def make_image(
    registry: Registry,
    recipe: Recipe,
    known: Mapping[str, Credential],
    *,
    build_timeout: float,
    push_timeout: float,
    say: Callable[[str], None],
) -> tuple[str, bool]:
    """The digest of the image, and whether it is ours: another job may have been first.

    Raises ImageBuildError, and ImageError as `ensure_image` tells. The engine keeps none of it.
    """
    progress = BuildProgress(say, hide=Logins(known).hide)
    async with Engine(progress) as engine:
        await _check_write(registry, recipe.name)
        image = await build_image(engine, registry, recipe, known, build_timeout, progress)
        return await _push(engine, registry, image, recipe.name, known, push_timeout)


async def build_image(
    engine: Engine,
    registry: Registry,
    recipe: Recipe,
    known: Mapping[str, Credential],
    timeout: float,
    progress: BuildProgress,
) -> str:
    """Both builds; the id of the image they make in the engine."""
    try:
        async with asyncio.timeout(timeout):
            for image in recipe.images.values():
                await _pull(engine, registry, image, known)
            if recipe.user is None:
                base = str(recipe.images[BASE_ARGUMENT])
            else:
                for name in recipe.user.context.left_out:
                    progress.say(f"Left out, because it is no file, folder or link: {name}")
                names = {name: str(image) for name, image in recipe.images.items()}
                text = pinned(recipe.user.dockerfile, recipe.build_args, names)
                base = await _build(engine, recipe.user, text, recipe.build_args)
            return await _build(
                engine, recipe.guest, recipe.guest.dockerfile, recipe.build_args | {BASE_ARGUMENT: base}
            )
    except TimeoutError:
        raise build_too_slow(timeout, progress.tail) from None


async def _check_write(registry: Registry, name: Reference) -> None:
    """Before the work of a build: an engine whose push is refused would try again for a minute after it."""
    try:
        await registry.check_write(name)
    except RegistryRefused as refused:
        raise push_failed(refused.said, refused.status) from refused


async def _pull(
    engine: Engine, registry: Registry, image: Reference, known: Mapping[str, Credential]
) -> None:
    try:
        await registry.configuration(image)  # engines pull, and some begin to build on, any platform's form
        await engine.pull(image, known.get(image.host))
    except RegistryRefused as refused:
        raise pull_failed(image, refused.said, refused.status) from refused
    except EngineRefused as refused:
        raise pull_failed(image, refused.said, status_in(refused.said)) from refused


async def _build(engine: Engine, build: Build, dockerfile: str, build_args: Mapping[str, str]) -> str:
    mark = f"{BUILD_LABEL}={secrets.token_hex(8)}"
    text = labelled(dockerfile, mark)
    with tempfile.TemporaryFile(prefix="flaude-") as tar:
        try:
            await asyncio.to_thread(write_tar, build.context, text, build.digest, tar)
            tar.seek(0)
        except OSError as error:
            raise not_packed(error) from error
        return await engine.build(tar, build_args, mark)


async def _push(
    engine: Engine,
    registry: Registry,
    image: str,
    name: Reference,
    known: Mapping[str, Credential],
    timeout: float,
) -> tuple[str, bool]:
    """Push once. When that fails because a job with the same content was first, its image will do."""
    try:
        async with asyncio.timeout(timeout):
            return await engine.push(image, name, known.get(name.host)), True
    except TimeoutError:
        raise push_failed(f"not done in {timeout:g} seconds", 0) from None
    except EngineRefused as refused:
        try:
            theirs = await registry.digest(name)
        except RegistryRefused:
            theirs = None
        if theirs is None:
            raise push_failed(refused.said, status_in(refused.said)) from refused
        return theirs, False
