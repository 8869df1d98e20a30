"""Which image a machine runs: identified by its content, built at most once per content, run by digest.

The tag is a digest of everything that goes into the image (`image_recipe`); when the app's registry has that
tag the image is reused, else it is built and pushed (`image_build`). Asking a registry is `registry`'s.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flaude_action.errors import ConfigError, ImageError
from flaude_action.image_errors import pull_failed, push_failed
from flaude_action.image_recipe import (
    BASE_ARGUMENT,
    Build,
    Recipe,
    content_tag,
    guest_build,
    user_build,
)
from flaude_action.image_reference import Reference, parse_reference
from flaude_action.machine_dockerfile import default
from flaude_action.registry import Registry
from flaude_action.registry_credentials import credentials, fly_registry, unheard
from flaude_action.registry_http import RegistryRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flaude_action.registry_credentials import Learned
    from flaude_action.secret import Secret

Source = Literal["built", "reused"]


@dataclass(frozen=True)
class ImageRef:
    """An image to run. `reference` is `host/app@sha256:…`, `digest` its `sha256:…`; `str()` is the reference.

    `source` says whether this call built it or found it in the registry.
    """

    reference: str
    digest: str
    source: Source

    def __str__(self) -> str:
        return self.reference


async def ensure_image(
    app_name: str,
    *,
    tag: str | None = None,
    token: Secret | str | None = None,
    docker_context: str | Path | None = None,
    dockerfile: str | Path | None = None,
    base_image: str | None = None,
    build_args: Mapping[str, str] | None = None,
    build_timeout: float = 600,
    push_timeout: float = 600,
    may_build: bool = True,
    say: Callable[[str], None] = unheard,
    learned: Learned = unheard,
) -> ImageRef:
    """The machine's image in the registry of this Fly app: found there by its content, else built and pushed.

    It is Claude Code and our guest on top of `base_image`, or of what `dockerfile` (by default
    `docker_context`'s `Dockerfile`) builds, or of our default base. `tag` is a name of yours that is made
    to point at it as well. `token` is Fly's (default: FLY_API_TOKEN). Times are seconds. `say` gets the
    progress, a line at a time, on the event loop; the lines are untrusted. `learned` gets secrets that a
    registry gives us on the way, which no line may show. With `may_build` False a miss is `image_untrusted`.

    Raises ConfigError for a context or reference that cannot be used, ImageBuildError, and ImageError as
    `image_not_found` or `image_pull_failed` (the base), `image_push_failed`, `image_untrusted` or
    `engine_missing`.
    """
    target = app_image(app_name, tag or "latest")
    known = credentials(token)
    if target.host not in known:
        raise ConfigError("secret_missing", "There is no Fly token for the app's registry.")
    async with Registry(known, learned=learned) as registry:
        recipe = await read_recipe(registry, target, docker_context, dockerfile, base_image, build_args or {})
        digest = await _lookup(registry, recipe.name)
        source: Source = "reused"
        if digest:
            say(f"Found {recipe.name}")
        elif not may_build:
            raise ImageError("image_untrusted")
        else:
            # Loaded here: most runs find their image and need no engine.
            from flaude_action.image_build import make_image

            say(f"There is no {recipe.name} yet, so it is built.")
            digest, ours = await make_image(
                registry, recipe, known, build_timeout=build_timeout, push_timeout=push_timeout, say=say
            )
            source = "built" if ours else "reused"
        image = recipe.name.at(digest)
        if tag:
            await _add_tag(registry, image, tag)
    return ImageRef(str(image), digest, source)


async def labels(
    reference: str, *, token: Secret | str | None = None, learned: Learned = unheard
) -> dict[str, str]:
    """The labels of a linux/amd64 image, read from its registry without an engine.

    `token` is Fly's (default: FLY_API_TOKEN) and goes to no registry but Fly's; `learned` is as for
    `ensure_image`. Raises ImageError with `image_not_found` or `image_pull_failed`, ConfigError for a text
    that is no reference.
    """
    image = parse_reference(reference)
    async with Registry(credentials(token), learned=learned) as registry:
        try:
            return await registry.labels(image)
        except RegistryRefused as refused:
            raise pull_failed(image, refused.said, refused.status) from refused


def app_image(app_name: str, tag: str) -> Reference:
    """A tag in the registry of a Fly app. Raises ConfigError for names that cannot be one."""
    return parse_reference(f"{fly_registry()}/{app_name}:{tag}")


async def read_recipe(
    registry: Registry,
    target: Reference,
    docker_context: str | Path | None,
    dockerfile: str | Path | None,
    base_image: str | None,
    build_args: Mapping[str, str],
) -> Recipe:
    """What is to be in the image, and its name beside `target`. Raises as `ensure_image` tells."""
    if base_image and (docker_context or dockerfile):
        raise ConfigError("config_invalid", "A base image and a Dockerfile are given: keep one of them.")
    user: Build | None = None
    if docker_context or dockerfile:
        folder = Path(docker_context) if docker_context else Path(dockerfile or "").parent
        file = Path(dockerfile or folder / "Dockerfile")
        user = await asyncio.to_thread(user_build, folder, file, build_args)
    guest = await asyncio.to_thread(guest_build)
    named = user.images if user else {BASE_ARGUMENT: parse_reference(base_image or default(BASE_ARGUMENT))}
    images = {name: await _resolved(registry, image) for name, image in named.items()}
    tag = content_tag(user, guest, {name: image.digest for name, image in images.items()}, build_args)
    return Recipe(user, guest, images, dict(build_args), Reference(target.host, target.path, tag))


async def _resolved(registry: Registry, image: Reference) -> Reference:
    """The image by its digest: one request, unless it is given so."""
    try:
        digest = image.digest or await registry.digest(image)
    except RegistryRefused as refused:
        raise pull_failed(image, refused.said, refused.status) from refused
    if not digest:
        raise pull_failed(image, "the registry does not have it", 404)
    return image.at(digest)


async def _lookup(registry: Registry, name: Reference) -> str | None:
    try:
        return await registry.digest(name)
    except RegistryRefused as refused:
        raise push_failed(refused.said, refused.status) from refused


async def _add_tag(registry: Registry, image: Reference, tag: str) -> None:
    try:
        await registry.add_tag(image, tag)
    except RegistryRefused as refused:
        raise push_failed(refused.said, refused.status) from refused
