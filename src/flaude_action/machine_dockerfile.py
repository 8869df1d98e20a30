"""The machine image's Dockerfile: where it is, what it can be told, and what it says when it is not told.

Everybody who builds the image asks here. Building it for a run is `image`'s.
"""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1]
"""The folder of our packages: `src`, or where they are installed."""
GUEST = SOURCES / "flaude_guest"
DOCKERFILE = GUEST / "image" / "Dockerfile"
GUEST_IN_CONTEXT = "src/flaude_guest/"
"""Where the Dockerfile expects the guest's files, also when we are installed and there is no folder `src`."""


def default(argument: str) -> str:
    """The default of a build argument, which the Dockerfile alone says."""
    found = re.search(rf"^ARG {argument}=(\S+)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise LookupError(f"no ARG {argument} in {DOCKERFILE}")
    return found[1]


def arguments(base_image: str, npm_registry: str = "") -> dict[str, str]:
    """The build arguments for this base image; Claude Code comes from npm's registry or a mirror of it."""
    registry = {"NPM_REGISTRY": npm_registry} if npm_registry else {}
    return {"BASE_IMAGE": base_image, **registry}
