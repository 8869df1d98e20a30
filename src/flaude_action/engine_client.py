"""The Docker SDK's client, with a bound on what an engine answers.

The engine is the runner's own, but it passes on what registries and builds say, whole. What is asked of it is
`engine`'s; a stream that can be cut off is `engine_stream`'s.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from docker.errors import APIError, DockerException

import docker
from flaude_action.http_body import ERROR_MAX_BYTES, TOO_LARGE
from flaude_action.json_document import json_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import PreparedRequest, Response

    from flaude_action.engine_stream import Event

ANSWER_MAX_BYTES: Final = 8 * 1024 * 1024
EVENT_MAX_BYTES: Final = 1024 * 1024
"""Of one event of a stream. A build's output comes in pieces of 32 KB."""
_PIECE_BYTES: Final = 64 * 1024


class EngineClient(docker.APIClient):
    """Which login goes where is `registry_credentials`', not Docker's configuration's."""

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        """The answer. All of it is read here unless it is a good stream, and of an error the beginning.

        Raises APIError for a good answer that is too large.
        """
        streamed = options.get("stream")
        response: Response = super().send(request, **options | {"stream": True})
        if streamed and response.ok:
            return response
        limit = ANSWER_MAX_BYTES if response.ok else ERROR_MAX_BYTES
        with response.raw as raw:
            body = raw.read(limit + 1, decode_content=False)
        if response.ok and len(body) > limit:
            raise _too_large()
        response.raw = io.BytesIO(body[:limit])  # from there requests takes it, and decodes nothing
        return response

    def _set_auth_headers(self, headers: dict[str, str]) -> None:
        """A build gets none: all that it stands on was pulled before."""

    def _stream_helper(self, response: Response, decode: bool = False) -> Iterator[Event]:
        """The events of a stream, of which each is a line. The SDK would gather until something is JSON.

        Raises APIError for a refusal and for an event that is too large, DockerException for what is none.
        """
        self._raise_for_status(response)  # type: ignore[attr-defined]  # the stubs leave it out
        line = bytearray()
        for piece in response.raw.stream(_PIECE_BYTES, decode_content=False):
            *ended, rest = piece.split(b"\n")
            for end in ended:
                line += end
                yield from _events(line)
                line.clear()
            line += rest
            if len(line) > EVENT_MAX_BYTES:
                raise _too_large()
        yield from _events(line)


def _events(line: bytearray) -> Iterator[Event]:
    if len(line) > EVENT_MAX_BYTES:
        raise _too_large()
    if not line.strip():
        return
    event = json_of(bytes(line))
    if not isinstance(event, dict):
        raise DockerException("an event is no JSON object")
    yield event


def _too_large() -> APIError:
    return APIError(TOO_LARGE, explanation=TOO_LARGE)
