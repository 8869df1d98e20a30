"""How a request to Fly goes out and an answer comes in: hosts, limits, what is sent twice.

Which requests there are is `fly`'s; what a refusal means is `fly_errors`'.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import httpx

from flaude_action.credential_forms import fly_forms, not_covered
from flaude_action.errors import FlyAPIError
from flaude_action.fly_errors import error_from, no_answer, unusable
from flaude_action.fly_limits import Unlimited, shared
from flaude_action.http_body import AS_IT_IS, TOO_SLOW, BodyRefused, whole_answer
from flaude_action.json_document import json_of
from flaude_action.redaction import Redactor
from flaude_action.waiting import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flaude_action.fly_access import BaseUrls

ANSWER_MAX_BYTES: Final = 4 * 1024 * 1024

CONNECT_S: Final = 10.0
REQUEST_S: Final = 15.0
MARGIN_S: Final = 10.0
"""How much longer than the server's own limit a whole answer may take."""

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

# stamina tells each retry to its logger. Without a handler Python would print that, and our own, to stderr.
for name in ("flaude_action", "stamina"):
    logging.getLogger(name).addHandler(logging.NullHandler())


class Answer:
    """A whole answer with a 2xx status; `document` is its JSON, None when it is empty or no JSON."""

    def __init__(self, response: httpx.Response, path: str, body: bytes) -> None:
        self._response = response
        self._path = path
        self.next_cursor = response.headers.get("fly-next-cursor", "")
        # No number of ours is a fraction; as text, a cursor beyond 2^53 stays exact however it is spelt.
        self.document: Any = json_of(body)

    def not_understood(self, expected: str) -> FlyAPIError:
        said = f"the answer is not {expected}"
        method = self._response.request.method
        return unusable(self._response.status_code, self._response.headers, said, method, self._path)


class Connection:
    """One `httpx.AsyncClient` for both hosts, with our token and our patience.

    `retry_for` bounds the seconds from a call's start within which it may be repeated (0: never). What an
    error quotes of the token is hidden here already: whoever catches it may print it.
    """

    def __init__(
        self,
        authorization: str,
        urls: BaseUrls,
        *,
        transport: httpx.AsyncBaseTransport | None,
        user_agent: str,
        retry_for: float,
    ) -> None:
        self.urls = urls
        self.limits = shared(urls.flaps) if transport is None else Unlimited()
        self.retry_for = retry_for
        self._authorization = authorization
        # One client, so that the cookie Fly binds a reader to its writes with comes back (httpx sends a
        # cookie only to the host that set it).
        self._http = httpx.AsyncClient(
            transport=transport,
            headers={
                "authorization": authorization,
                "user-agent": user_agent,
                "accept": "application/json",
                **AS_IT_IS,
            },
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        repeat: bool = True,
        timeout: float = REQUEST_S,
        cap: int = ANSWER_MAX_BYTES,
        retry_for: float | None = None,
    ) -> Answer:
        """Send, and send again as allowed; `path` is what errors may show, so it holds no query.

        `repeat` says that doing it twice does no harm. Raises FlyAPIError on anything but a whole answer
        with a 2xx status.
        """
        base = self.urls.api if path.startswith("/api/") else self.urls.flaps
        request = self._http.build_request(
            method,
            base + path,
            params=list(query) or None,
            json=body,
            timeout=httpx.Timeout(timeout, connect=CONNECT_S),
        )
        deadline = Deadline.after(self.retry_for if retry_for is None else retry_for)
        try:
            return await self._in_turn(request, path, timeout, cap)
        except FlyAPIError as error:
            if deadline.passed or not _pause_before_next(error, repeat=repeat, left=deadline.left):
                raise
            failure: FlyAPIError | None = error
        # Imported when first needed: a run without trouble starts faster without it.
        import stamina

        attempts = stamina.retry_context(
            on=lambda error: _pause_before_next(error, repeat=repeat, left=deadline.left),
            attempts=None,
            timeout=deadline.left,
            wait_initial=0.2,
            wait_max=5.0,
            wait_jitter=0.5,
        )
        async for attempt in attempts:
            with attempt:
                if failure is not None:  # the call above was the first attempt
                    first, failure = failure, None
                    raise first
                return await self._in_turn(request, path, timeout, cap)
        raise AssertionError("stamina ends with an answer or an error")

    async def _in_turn(self, request: httpx.Request, path: str, timeout: float, cap: int) -> Answer:
        await self.limits.turn(request.method, path)
        with self.limits.under_way(request.method, path):
            return await self._once(request, path, timeout, cap)

    async def _once(self, request: httpx.Request, path: str, timeout: float, cap: int) -> Answer:
        method = request.method
        try:
            response, body = await whole_answer(self._http, request, most=cap, seconds=timeout + MARGIN_S)
        except TimeoutError as error:
            raise no_answer(TOO_SLOW, method, path, sent=True) from error
        except BodyRefused as refused:
            told = refused.response
            raise unusable(told.status_code, told.headers, str(refused), method, path) from refused
        except httpx.HTTPError as error:
            reason = self._hidden(f"{type(error).__name__}: {error}")
            raise no_answer(reason, method, path, sent=not isinstance(error, _UNSENT)) from error
        if not response.is_success:
            said = self._hidden(body.decode("utf-8", "backslashreplace"))
            raise error_from(response.status_code, response.headers, said, method, path)
        return Answer(response, path, body)

    def _hidden(self, text: str) -> str:
        return Redactor(not_covered(fly_forms(self._authorization))).redact(text)


def _pause_before_next(error: Exception, *, repeat: bool, left: float) -> bool | float:
    """Whether to send again: False, True (after the usual pause), or the seconds Fly asked for."""
    if not isinstance(error, FlyAPIError):
        return False
    if error.status_code == 429:
        wished = error.retry_after or 0.0  # "at once" gets the usual pause: it would be a loop
        return (wished or True) if wished < left else False
    if error.status_code == 0 and error.meta.get("request_sent") is False:
        return True
    return repeat and (error.status_code == 0 or error.status_code >= 500)
