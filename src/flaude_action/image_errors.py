"""What a refusal of a registry or an engine means for the user: pure, from an HTTP status or the words used.

The words are only looked at to choose type and hint; the image is not there in any of these cases.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from flaude_action.errors import ImageBuildError, ImageError
from flaude_action.http_body import OUR_WORDS
from flaude_action.image_reference import PLATFORM
from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from flaude_action.image_reference import Reference

TIMEOUT_CODE = 124
_STATUS = re.compile(r"(?:HTTP status:?|HTTP|status code:?|error:) (\d{3})\b", re.IGNORECASE)
_WORDS = (
    (401, ("unauthorized", "authentication required", "no basic auth", "incorrect username or password")),
    (403, ("denied", "forbidden")),
    (404, ("manifest unknown", "name unknown", "not found", "does not exist", PLATFORM)),
)
_DISK_FULL = "no space left on device"
_NO_SHELL = 'exec: "/bin/sh"'
_UNFIT = "flaude-action cannot use this base image"
"""How `flaude_guest/image` begins its refusals."""
_WHAT_A_BASE_NEEDS = "A base made from Debian or Ubuntu will do; docs/images.md says what it needs."
_ENGINE_FULL = ("The Docker engine's disk is full.", "Free space on the runner first, or use a larger one.")


def status_in(said: str) -> int:
    """The HTTP status that an engine passed on in its own words; 0 when it tells none."""
    told = said.lower()
    for status, words in _WORDS:
        if any(word in told for word in words):
            return status
    found = _STATUS.search(said)
    return int(found[1]) if found else 0


def pull_failed(image: Reference, said: str, status: int) -> ImageError:
    """An image could not be looked up or pulled."""
    which, meta = f"It is {quoted(str(image))}.", {"status": status}
    if _DISK_FULL in said.lower():
        details, hint = _ENGINE_FULL
        return ImageError("image_pull_failed", details=details, hint=hint, dev=said, retryable="user")
    if status == 404 and PLATFORM in said:
        details, hint = f"{which} It has no {PLATFORM} form.", f"Machines run {PLATFORM}: build it for that."
        return ImageError("image_not_found", details=details, hint=hint, dev=said, meta=meta)
    if status == 404:
        return ImageError("image_not_found", details=which, dev=said, meta=meta)
    if status in (401, 403):
        hint = (
            "Check its name. A private one needs a login; one that only this engine has must be pushed first."
        )
        details = f"{which} The registry wants other credentials (HTTP {status}), or there is no such image."
        return ImageError(
            "image_pull_failed", details=details, hint=hint, dev=said, retryable="user", meta=meta
        )
    return ImageError("image_pull_failed", details=f"{which} {_answer(status, said)}", dev=said, meta=meta)


def push_failed(said: str, status: int) -> ImageError:
    """The app's own registry could not be asked, or did not take the image."""
    meta = {"status": status}
    if status in (401, 403, 404):
        details = f"The registry refused the Fly token for this app (HTTP {status})."
        hint = "Make a new token with `fly tokens create deploy -a <app> --expiry 720h` and store it."
        return ImageError(
            "image_push_failed", details=details, hint=hint, dev=said, retryable="user", meta=meta
        )
    return ImageError("image_push_failed", details=_answer(status, said), dev=said, meta=meta)


def build_failed(command_code: int | None, said: str, tail: str) -> ImageBuildError:
    """A build ended with an error, its command's exit code if it was one; a full disk is not its fault."""
    code = command_code or 1
    if _DISK_FULL in said.lower():
        details, hint = _ENGINE_FULL
        return ImageBuildError(code, tail, details=details, hint=hint)
    if _NO_SHELL in said:
        return ImageBuildError(code, tail, details="The base image has no /bin/sh.", hint=_WHAT_A_BASE_NEEDS)
    if _UNFIT in tail:
        details = "The base image cannot be used for a machine; the build's last lines say why."
        return ImageBuildError(code, tail, details=details, hint=_WHAT_A_BASE_NEEDS)
    return ImageBuildError(
        code, tail, details=f"A command ended with exit code {code}." if command_code else ""
    )


def build_too_slow(seconds: float, tail: str) -> ImageBuildError:
    return ImageBuildError(TIMEOUT_CODE, tail, details=f"It was not done in {seconds:g} seconds.")


def not_packed(error: OSError) -> ImageError:
    """The context could not be packed for the engine."""
    hint = "Free space on the runner first." if error.errno == errno.ENOSPC else ""
    details = f"The build context could not be packed ({os.strerror(error.errno or 0)})."
    return ImageError("image_build_failed", details=details, hint=hint, dev=str(error))


def _answer(status: int, said: str) -> str:
    if said in OUR_WORDS:
        return f"The registry answered HTTP {status}: {said}."
    return f"The registry answered HTTP {status}." if status else "The registry gave no good answer."
