"""The machine image for a rehearsal with containers: found in the engine, or built from the guest's files.

The base image is the Dockerfile's own, or the one that FLAUDE_BASE_IMAGE names.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from docker.errors import APIError, DockerException, ImageNotFound

import docker
from flaude_action import machine_dockerfile
from flaude_action.build_context import DOCKERFILE_NAME, write_tar
from flaude_action.image_recipe import guest_build

if TYPE_CHECKING:
    from collections.abc import Callable

    from flaude_action.image_recipe import Build

IMAGE_NAME = "flaude-machine"
ENGINE_ANSWERS_S = 5
PULL_S = 20
BUILD_SILENCE_S = 600
_LINES_OF_A_FAILED_BUILD = 15


class Unavailable(Exception):
    """Something cannot be had here; the text says why, in the middle of a sentence."""


def find_base() -> str:
    """A base image that the Docker engine has or can pull soon. Raises Unavailable."""
    base = os.environ.get("FLAUDE_BASE_IMAGE") or machine_dockerfile.default("BASE_IMAGE")
    client = _client(ENGINE_ANSWERS_S)
    try:
        client.images.get(base)
    except ImageNotFound:
        _pull(client, base)
    finally:
        client.close()
    return base


def ensure_image(base: str, say: Callable[[str], None]) -> str:
    """The tag of the machine image on that base; built unless the engine has it from the same files.

    Raises Unavailable with the build's last lines when it fails.
    """
    client = _client(BUILD_SILENCE_S)
    try:
        guest = guest_build()
        identity = f"{client.images.get(base).id} {guest.digest} {guest.dockerfile}"
        image = f"{IMAGE_NAME}:{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        try:
            client.images.get(image)
        except ImageNotFound:
            say(f"Building the machine image {image} …")
            _build(client.api, guest, image, base)
        else:
            say(f"The machine image {image} was built from these very files before.")
        return image
    finally:
        client.close()


def _client(timeout_s: int) -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=timeout_s)
        client.ping()
    except DockerException:
        raise Unavailable("no Docker engine answers") from None
    return client


def _pull(client: docker.DockerClient, base: str) -> None:
    deadline = time.monotonic() + PULL_S
    try:
        for event in client.api.pull(base, stream=True, decode=True):
            if "error" in event or time.monotonic() > deadline:
                break
        client.images.get(base)
    except (DockerException, OSError):
        raise Unavailable(
            f"the base image {base} is not here and cannot be pulled within {PULL_S} s"
        ) from None


def _build(api: docker.APIClient, guest: Build, image: str, base: str) -> None:
    """Unlike for a run the engine's cache is used: a rehearsal is repeated while the guest changes."""
    said: list[str] = []
    context = io.BytesIO()
    write_tar(guest.context, guest.dockerfile, guest.digest, context)
    context.seek(0)
    try:
        for event in api.build(
            fileobj=context,
            custom_context=True,
            dockerfile=DOCKERFILE_NAME,
            tag=image,
            buildargs=machine_dockerfile.arguments(base, npm_registry()),
            rm=True,
            forcerm=True,
            decode=True,
        ):
            said += (event.get("stream") or event.get("error") or "").splitlines()
            if "error" in event:
                last = "\n".join(said[-_LINES_OF_A_FAILED_BUILD:])
                raise Unavailable(f"the machine image does not build:\n{last}")
    except APIError as error:
        raise Unavailable(f"the machine image does not build: {error.explanation}") from None


def npm_registry() -> str:
    """Where this computer's npm installs from; empty without npm."""
    if not shutil.which("npm"):
        return ""
    asked = subprocess.run(
        ["npm", "config", "get", "registry"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return asked.stdout.strip().rstrip("/") if asked.returncode == 0 else ""
