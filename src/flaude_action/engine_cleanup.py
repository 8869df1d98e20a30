"""Removing what a build left in the engine: found by the build's mark, and waited for when it was cut off.

How a build is started, followed and cut off is `engine`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from flaude_action.engine_stream import BROKEN
from flaude_action.waiting import Deadline, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import docker

QUIET_S: Final = 0.8
COPY_S: Final = 4.0
LATEST_S: Final = 4.5
"""After a cancel the engine kills a running command at once but finishes a copy, and then tells nobody."""


async def sweep_until_quiet(
    api: docker.APIClient, mark: str, kept: Collection[str], *, copying: bool
) -> None:
    """Remove what an engine that was cut off still makes, until it has made nothing for a while."""
    quiet = Deadline.after(COPY_S if copying else QUIET_S)
    latest = Deadline.after(LATEST_S)
    while not quiet.passed and not latest.passed:
        if await asyncio.to_thread(sweep, api, mark, kept):
            quiet = Deadline.after(QUIET_S)
        await pause(QUIET_S / 4)


def sweep(api: docker.APIClient, mark: str, kept: Collection[str]) -> bool:
    """Remove containers and layers with this mark that nothing kept is built on; whether there were any."""
    ours = {"label": mark}
    containers = attempt(api.containers, all=True, filters=ours) or []
    images = [image for image in attempt(api.images, all=True, filters=ours) or [] if image["Id"] not in kept]
    for container in containers:
        attempt(api.remove_container, container["Id"], v=True, force=True)
    for image in sorted(images, key=lambda image: -image["Created"]):
        attempt(api.remove_image, image["Id"])
    return bool(containers or images)


def attempt(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Clean up as far as it goes: what is gone, or used by others, is none of ours any more."""
    try:
        return call(*args, **kwargs)
    except BROKEN:
        return None
