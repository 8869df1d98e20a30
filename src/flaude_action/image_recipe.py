"""What goes into a machine's image, and the tag that names exactly that.

A recipe is our own build (the guest's files and Dockerfile) on a base: a given image, or what the user's
Dockerfile builds. Reads files, asks nobody: digests of images come from the caller.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flaude_action import __version__
from flaude_action.build_context import Context, context_digest, read_context
from flaude_action.dockerfile import external_images
from flaude_action.dockerignore import DockerIgnore
from flaude_action.errors import ConfigError
from flaude_action.image_reference import PLATFORM, parse_reference
from flaude_action.machine_dockerfile import DOCKERFILE, GUEST, GUEST_IN_CONTEXT
from flaude_action.untrusted import quoted
from flaude_guest import protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flaude_action.image_reference import Reference

RECIPE: Final = 1
"""Raised when the same inputs begin to make another image."""
DOCKERFILE_BYTES: Final = 1 << 20
BASE_ARGUMENT: Final = "BASE_IMAGE"
_WHERE_ONLY: Final = ("NPM_REGISTRY",)
"""Arguments that say where something is fetched from whose content is pinned by a hash."""


@dataclass(frozen=True)
class Build:
    """One build: files and their digest, the Dockerfile, and the images it names, as it names them."""

    context: Context
    digest: str
    dockerfile: str
    images: dict[str, Reference]


@dataclass(frozen=True)
class Recipe:
    """The builds, the images they stand on by digest, and the name in the app's registry that this makes."""

    user: Build | None
    guest: Build
    images: dict[str, Reference]
    build_args: dict[str, str]
    name: Reference


def guest_build() -> Build:
    """Our own layers. The base is their build argument `BASE_IMAGE`."""
    context = read_context(GUEST, DockerIgnore("**/__pycache__"), prefix=GUEST_IN_CONTEXT)
    return Build(context, context_digest(context), DOCKERFILE.read_text("utf-8"), {})


def user_build(folder: Path, dockerfile: Path, build_args: Mapping[str, str]) -> Build:
    """A build of the user's. Raises ConfigError with what is wrong with its files or the images it names."""
    text = _text(dockerfile, "Dockerfile")
    context = read_context(folder, DockerIgnore(_ignore_text(folder, dockerfile)))
    images = {name: parse_reference(name) for name in external_images(text, build_args)}
    return Build(context, context_digest(context), text, images)


def content_tag(
    user: Build | None, guest: Build, digests: Mapping[str, str], build_args: Mapping[str, str]
) -> str:
    """The tag of what these builds make on images of these digests, by the names they have there."""
    recipe: dict[str, Any] = {
        "recipe": RECIPE,
        "platform": PLATFORM,
        "version": __version__,
        "guest": [guest.dockerfile, guest.digest],
        "user": [user.dockerfile, user.digest] if user else None,
        "images": dict(digests),
        "build_args": {name: value for name, value in build_args.items() if name not in _WHERE_ONLY},
    }
    digest = hashlib.sha256(protocol.canonical_json(recipe).encode("ascii")).hexdigest()
    return f"flaude-{digest[:40]}"


def _ignore_text(folder: Path, dockerfile: Path) -> str:
    """A Dockerfile's own ignore file goes before the context's, as with BuildKit."""
    for path in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), folder / ".dockerignore"):
        if path.is_file():
            return _text(path, "ignore file")
    return ""


def _text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(DOCKERFILE_BYTES + 1)
    except OSError:
        hint = "Name a Dockerfile that exists in the checked-out workspace."
        message = f"The {what} {quoted(path.name)} cannot be read."
        raise ConfigError("config_invalid", message, hint=hint) from None
    if len(data) > DOCKERFILE_BYTES:
        raise ConfigError("config_invalid", f"The {what} {quoted(path.name)} is over 1 MB.")
    return data.decode("utf-8", "surrogateescape")
