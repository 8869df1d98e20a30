"""flaude's three steps of making an image, one at a time, with its names and signatures.

`image.ensure_image` does all of it, and only when it must. Neither the `docker` nor the `flyctl` program is
needed, and nothing is written to Docker's configuration: a login is remembered by this process alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flaude_action.build_progress import BuildProgress
from flaude_action.engine import Engine, EngineRefused
from flaude_action.errors import ConfigError
from flaude_action.image import app_image, read_recipe
from flaude_action.image_build import build_image
from flaude_action.image_errors import push_failed, status_in
from flaude_action.image_reference import PLATFORM
from flaude_action.registry import Registry
from flaude_action.registry_credentials import Logins, credentials, unheard
from flaude_action.registry_http import RegistryRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flaude_action.registry_credentials import Credential
    from flaude_action.secret import Secret

_logins: dict[str, Credential] = {}


async def docker_login_fly(*, token: Secret | str | None = None) -> None:
    """Check that Fly's registry takes the token (default: FLY_API_TOKEN), and use it from now on.

    Raises ConfigError without a token, ImageError `image_push_failed` when the registry refuses it.
    """
    known = credentials(token)
    registry = app_image("any", "latest")
    if registry.host not in known:
        raise ConfigError("secret_missing", "There is no Fly token for the registry.")
    async with Registry(known) as asked:
        try:
            await asked.check_access(registry)
        except RegistryRefused as refused:
            raise push_failed(refused.said, refused.status) from refused
    _logins.update({registry.host: known[registry.host]})


async def docker_build(
    app_name: str,
    *,
    tag: str = "latest",
    platform: str = "linux/amd64",
    docker_context: str | Path | None = None,
    base_image: str | None = None,
    timeout: float = 600,
    say: Callable[[str], None] = unheard,
) -> str:
    """Build the machine's image and name it for the app's registry; the name, `host/app:tag`.

    What is in it is told at `ensure_image`, as is `say`. Raises ConfigError, ImageBuildError, ImageError.
    """
    if platform != PLATFORM:
        raise ConfigError("config_invalid", f"Fly's machines run {PLATFORM} and nothing else.")
    name = app_image(app_name, tag)
    known = _known()
    async with Registry(known) as registry:
        recipe = await read_recipe(registry, name, docker_context, None, base_image, {})
        progress = BuildProgress(say, hide=Logins(known).hide)
        async with Engine(progress) as engine:
            image = await build_image(engine, registry, recipe, known, timeout, progress)
            await engine.keep(image, name)
    return str(name)


async def docker_push(
    app_name: str, *, tag: str = "latest", timeout: float = 600, say: Callable[[str], None] = unheard
) -> str:
    """Push what `docker_build` built; its name. Raises ImageError `image_push_failed` or `engine_missing`."""
    name = app_image(app_name, tag)
    known = _known()
    async with Engine(BuildProgress(say, hide=Logins(known).hide)) as engine:
        try:
            async with asyncio.timeout(timeout):
                await engine.push_kept(name, known.get(name.host))
        except TimeoutError:
            raise push_failed(f"not done in {timeout:g} seconds", 0) from None
        except EngineRefused as refused:
            raise push_failed(refused.said, status_in(refused.said)) from refused
    return str(name)


def _known() -> dict[str, Credential]:
    return credentials(None) | _logins
