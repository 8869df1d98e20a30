"""Which image a machine runs: identified by its content, built at most once per content, run by digest.

The tag is a digest of everything that goes into the image; when the app's registry has that tag the image
is reused, else it is built and pushed. Asking a registry is `registry`'s, what goes into a build
`build_context`'s, building and pushing `engine`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from flaude_action.secret import Secret

Source = Literal["built", "reused"]


def _unheard(_: str) -> None:
    return None


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
    say: Callable[[str], None] = _unheard,
) -> ImageRef:
    """The machine's image in the registry of this Fly app: found there by its content, else built and pushed.

    It is Claude Code and our guest on top of `base_image`, or of what `dockerfile` (by default
    `docker_context`'s `Dockerfile`) builds, or of our default base. `tag` is a name of yours that is made
    to point at it as well. `token` is Fly's (default: FLY_API_TOKEN). Times are seconds. `say` gets the
    progress, a line at a time, on the event loop; the lines are untrusted. With `may_build` False a miss
    is `image_untrusted`.

    Raises ConfigError for a context or reference that cannot be used, ImageBuildError, and ImageError as
    `image_not_found` or `image_pull_failed` (the base), `image_push_failed`, `image_untrusted` or
    `engine_missing`.
    """
    raise NotImplementedError


async def labels(reference: str, *, token: Secret | str | None = None) -> dict[str, str]:
    """The labels of a linux/amd64 image, read from its registry without an engine.

    `token` is Fly's and goes to no registry but Fly's. Raises ImageError with `image_not_found` or
    `image_pull_failed`, ConfigError for a text that is no reference.
    """
    raise NotImplementedError
