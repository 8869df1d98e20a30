"""Which image a step's machine runs: the one named, one made from the user's base, or this release's.

Making and finding images is `image`'s. A build is root on the runner, so nothing that came with an untrusted
head is built; what exists already under its content's name may run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from flaude_action import DEFAULT_IMAGE
from flaude_action.errors import ImageError
from flaude_action.machine_config import guest_of
from flaude_guest.protocol import IMAGE_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flaude_action.inputs import Inputs
    from flaude_action.machine_config import Guest
    from flaude_action.registry_credentials import Learned
    from flaude_action.secret import SecretStr

ImageSource = Literal["given", "built", "reused", "default"]


@dataclass(frozen=True)
class ChosenImage:
    """`guest` says whether our guest is known to be inside; `auto` leaves it to the image's label."""

    reference: str
    source: ImageSource
    guest: Guest


async def choose_image(
    inputs: Inputs,
    workspace: Path,
    *,
    trusted: bool,
    say: Callable[[str], None],
    learned: Learned,
) -> ChosenImage:
    """Find or make the image. `say` gets a build's progress, untrusted, a line at a time, and `learned` what
    no line may show.

    Raises what `image.ensure_image` raises; with `trusted` False a missing image is `image_untrusted`.
    """
    if inputs.image:
        return ChosenImage(
            inputs.image, "given", await _guest_in(inputs.image, inputs.fly_api_token, learned)
        )
    if not inputs.base_image and not inputs.dockerfile:
        return ChosenImage(DEFAULT_IMAGE, "default", "flaude")
    from flaude_action.image import ensure_image

    # The Dockerfile's own folder is the context, as it is for GitHub's container actions.
    name = inputs.dockerfile.name if inputs.dockerfile else ""
    image = await ensure_image(
        inputs.fly_app,
        token=inputs.fly_api_token,
        docker_context=workspace / PurePosixPath(name).parent if name else None,
        dockerfile=workspace / name if name else None,
        base_image=inputs.base_image,
        may_build=trusted,
        say=say,
        learned=learned,
    )
    return ChosenImage(image.reference, image.source, "flaude")


async def _guest_in(reference: str, token: SecretStr | None, learned: Learned) -> Guest:
    """What the image's label says, asked of Fly's registry before there is a machine.

    Elsewhere, or when it does not answer, Fly's own record of the machine tells later.
    """
    from flaude_action.image import labels
    from flaude_action.image_reference import parse_reference
    from flaude_action.registry_credentials import fly_registry

    if parse_reference(reference).host != fly_registry():
        return "auto"
    try:
        version = (await labels(reference, token=token, learned=learned)).get(IMAGE_LABEL)
    except ImageError as error:
        if error.type == "image_not_found":
            raise
        return "auto"
    return guest_of(version)
