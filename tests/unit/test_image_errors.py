"""What a refusal means: the type, whose turn it is, and that no foreign text is shown to anyone."""

from __future__ import annotations

import errno

import pytest

from flaude_action.image_errors import (
    build_failed,
    build_too_slow,
    not_packed,
    pull_failed,
    push_failed,
    status_in,
)
from flaude_action.image_reference import parse_reference

IMAGE = parse_reference("ghcr.io/me/base:1")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("manifest for x:zz not found: manifest unknown: manifest unknown", 404),
        ("pull access denied for x, repository does not exist or may require 'docker login'", 403),
        ("unauthorized: authentication required", 401),
        ("received unexpected HTTP status: 503 Service Unavailable", 503),
        ("error parsing HTTP 429 response body", 429),
        ("no matching manifest for linux/amd64 in the manifest list entries", 404),
        ("image a was found but its platform (linux/arm64) does not match (linux/amd64)", 404),
        ("dial tcp: lookup nowhere: no such host", 0),
        ("", 0),
    ],
)
def test_an_engines_words_tell_the_status(said: str, status: int) -> None:
    """The engine passes on what the registry said, in words of its own."""
    assert status_in(said) == status


@pytest.mark.parametrize(
    ("status", "kind", "turn"),
    [
        (404, "image_not_found", "user"),
        (401, "image_pull_failed", "user"),
        (403, "image_pull_failed", "user"),
        (429, "image_pull_failed", "runner"),
        (503, "image_pull_failed", "runner"),
        (0, "image_pull_failed", "runner"),
    ],
)
def test_a_base_that_cannot_be_had(status: int, kind: str, turn: str) -> None:
    """Missing, refused, or only for now."""
    error = pull_failed(IMAGE, "their words", status)
    assert (error.type, error.retryable) == (kind, turn)
    assert "ghcr.io/me/base:1" in error.details
    assert "their words" not in str(error)
    assert error.dev == "their words"


@pytest.mark.parametrize(
    ("status", "turn"), [(401, "user"), (403, "user"), (404, "user"), (500, "runner"), (0, "runner")]
)
def test_an_image_that_cannot_be_stored(status: int, turn: str) -> None:
    """The token's fault, or the registry's for now."""
    error = push_failed("their words", status)
    assert (error.type, error.retryable) == ("image_push_failed", turn)
    assert "their words" not in str(error)


def test_a_base_for_another_platform_is_told_as_one() -> None:
    """It is there, but not in the form that machines run: neither the name nor the registry is at fault."""
    said = "no matching manifest for linux/amd64 in the manifest list entries"
    error = pull_failed(IMAGE, said, status_in(said))
    assert (error.type, error.retryable) == ("image_not_found", "user")
    assert "no linux/amd64 form" in error.details
    assert "linux/amd64" in error.hint


def test_a_full_disk_is_told_as_one() -> None:
    """Wherever the engine met it, it is not the Dockerfile's fault."""
    said = "write /large: no space left on device"
    for error in (build_failed(1, said, said), pull_failed(IMAGE, said, 0)):
        assert "disk is full" in error.details
        assert "Free space" in error.hint
    assert "Free space" in not_packed(OSError(errno.ENOSPC, "No space left on device")).hint


def test_a_failed_build_tells_its_code() -> None:
    """The command's code, or 124 when it took too long; the log stays in `stderr`."""
    failed = build_failed(7, "said", "tail")
    assert (failed.returncode, failed.stderr, failed.details) == (
        7,
        "tail",
        "A command ended with exit code 7.",
    )
    assert build_failed(1, "said", "tail").details == "A command ended with exit code 1."
    unsaid = build_failed(None, "COPY failed", "tail")
    assert (unsaid.returncode, unsaid.details) == (1, "")
    slow = build_too_slow(2.5, "tail")
    assert (slow.returncode, slow.details) == (124, "It was not done in 2.5 seconds.")
