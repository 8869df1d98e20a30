"""One client for Fly: the Machines API and the logs host, one method per endpoint, no policy.

A method sends one request and gives a typed answer (`fly_models`) or raises `FlyAPIError` (`fly_errors`).
Each waits for its turn by Fly's rate limits (`fly_limits`). Requests that may be sent twice are, on 429, 5xx
and lost connections (`fly_http`); everything else (adopting
a machine after a doubtful create, waiting in slices, sweeping) is decided by the callers.

Rules: https://fly.io/docs/machines/api/ and, for the logs host, https://fly.io/docs/monitoring/logs-api-options/
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flaude_action.errors import FlyAPIError
from flaude_action.fly_access import API_URL, FLAPS_URL, BaseUrls, authorization, base_url
from flaude_action.fly_events import Event, parse_events
from flaude_action.fly_http import MARGIN_S, Connection
from flaude_action.fly_models import (
    App,
    ExecResult,
    LogsPage,
    Machine,
    WaitAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from types import TracebackType

    import httpx

    from flaude_action.fly_access import SecretText
    from flaude_action.fly_http import Answer

WAIT_MAX_S: Final = 60
"""The server refuses a longer `wait` with 400."""
EVENTS_MAX: Final = 50

EXEC_ANSWER_MAX_BYTES: Final = 8 * 1024 * 1024
LIST_MAX_PAGES: Final = 100
CREATE_S: Final = 60.0


class Fly:
    """The client. Use as an async context manager; `app` is the app's name, ids are as Fly gave them.

    `retry_for` bounds the seconds from a call's start within which it may be repeated (0: never). Every
    method raises FlyAPIError; `status_code` 0 means that no answer came.
    """

    def __init__(
        self,
        token: str | SecretText,
        *,
        flaps_url: str | None = None,
        api_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        user_agent: str = "flaude-action",
        retry_for: float = 30.0,
    ) -> None:
        text = token if isinstance(token, str) else token.get_secret_value()
        self.urls = BaseUrls(
            base_url(flaps_url or FLAPS_URL, "flaps_url"), base_url(api_url or API_URL, "api_url")
        )
        self._connection = Connection(
            authorization(text), self.urls, transport=transport, user_agent=user_agent, retry_for=retry_for
        )
        self._call = self._connection.call

    async def __aenter__(self) -> Fly:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._connection.aclose()

    def __repr__(self) -> str:
        return f"Fly(flaps_url={self.urls.flaps!r}, api_url={self.urls.api!r})"

    # Apps.

    async def get_app(self, app: str) -> App:
        return App.parse((await self._call("GET", _app(app))).document)

    async def create_app(self, app: str, org_slug: str, *, network: str = "") -> None:
        """Ask for the app; it may take seconds until it can be read. `name_taken` tells the usual refusal."""
        body = {"name": app, "org_slug": org_slug} | ({"network": network} if network else {})
        await self._call("POST", "/v1/apps", body=body, repeat=False)

    # Machines.

    async def create_machine(
        self, app: str, config: Mapping[str, Any], *, name: str = "", region: str = ""
    ) -> Machine:
        """Create and launch. App secrets are never put into it (`skip_secrets`).

        Repeated only when Fly certainly did nothing; see `fly_errors.may_have_happened` for the rest.
        """
        body: dict[str, Any] = {"config": dict(config), "skip_secrets": True}
        body |= {key: value for key, value in (("name", name), ("region", region)) if value}
        path = f"{_app(app)}/machines"
        return _machine(await self._call("POST", path, body=body, repeat=False, timeout=CREATE_S))

    async def get_machine(self, app: str, machine_id: str, *, retry_for: float | None = None) -> Machine:
        return _machine(await self._call("GET", _machine_path(app, machine_id), retry_for=retry_for))

    async def list_machines(
        self, app: str, *, metadata: Mapping[str, str] | None = None, include_deleted: bool = False
    ) -> list[Machine]:
        """All machines whose metadata has every given pair, over all pages."""
        wanted = dict(metadata or {})
        query = [(f"metadata.{key}", value) for key, value in wanted.items()]
        query += [("include_deleted", "true")] if include_deleted else []
        found: dict[str, Machine] = {}
        cursor, seen = "", set[str]()
        for _ in range(LIST_MAX_PAGES):
            page = query + ([("cursor", cursor)] if cursor else [])
            answer = await self._call("GET", f"{_app(app)}/machines", query=page)
            if not isinstance(answer.document, list):
                raise answer.not_understood("a list of machines")
            found |= {one.id: one for one in map(Machine.parse, answer.document) if one.id}
            cursor = answer.next_cursor
            if not cursor or cursor in seen:
                break
            seen.add(cursor)
        # A server that does not know the filter sends every machine of the app: never take those for ours.
        return [one for one in found.values() if wanted.items() <= one.metadata.items()]

    async def events(
        self, app: str, machine_id: str, limit: int = EVENTS_MAX, *, retry_for: float | None = None
    ) -> list[Event]:
        """The machine's history in Fly's order, newest first. A machine's own `events` hold only five."""
        path = f"{_machine_path(app, machine_id)}/events"
        answer = await self._call("GET", path, query=[("limit", str(limit))], retry_for=retry_for)
        if not isinstance(answer.document, list):
            raise answer.not_understood("a list of events")
        return list(parse_events(answer.document))

    async def wait(
        self, app: str, machine_id: str, states: Sequence[str], version: str, timeout: float, *,
        retry_for: float | None = None,
    ) -> WaitAnswer | None:  # fmt: skip
        """Block until that version is in one of `states`; None when `timeout` (1 to 60 s) passed first."""
        seconds = min(WAIT_MAX_S, max(1, math.ceil(timeout)))
        query = [("state", state) for state in states] + [("timeout", str(seconds))]
        query += [("version", version)] if version else []
        path = f"{_machine_path(app, machine_id)}/wait"
        try:
            limit_s = seconds + MARGIN_S
            answer = await self._call("GET", path, query=query, timeout=limit_s, retry_for=retry_for)
        except FlyAPIError as error:
            if error.status_code == 408:
                return None
            raise
        return WaitAnswer.parse(answer.document)

    async def stop_machine(
        self, app: str, machine_id: str, *, signal: str = "SIGTERM", timeout: float | None = None
    ) -> None:
        """Ask for a stop: `signal`, then after `timeout` seconds a kill. Returns before it has stopped."""
        body = {"signal": signal} | ({} if timeout is None else {"timeout": f"{math.ceil(timeout)}s"})
        await self._call("POST", f"{_machine_path(app, machine_id)}/stop", body=body)

    async def destroy_machine(
        self, app: str, machine_id: str, *, force: bool = True, retry_for: float | None = None
    ) -> None:
        """Destroy, killing a running machine when `force`. 404 (already gone) raises like any refusal."""
        query = [("force", "true")] if force else []
        await self._call("DELETE", _machine_path(app, machine_id), query=query, retry_for=retry_for)

    async def exec(
        self, app: str, machine_id: str, command: Sequence[str], stdin: str = "", timeout: float = 30.0, *,
        retry_for: float | None = None,
    ) -> ExecResult:  # fmt: skip
        """Run a command on the machine as root, without a shell, and give all it said.

        Repeated only when it certainly did not start.
        """
        seconds = max(1, math.ceil(timeout))
        body: dict[str, Any] = {"command": list(command), "timeout": seconds}
        body |= {"stdin": stdin} if stdin else {}
        answer = await self._call(
            "POST",
            f"{_machine_path(app, machine_id)}/exec",
            body=body,
            repeat=False,
            timeout=seconds + MARGIN_S,
            cap=EXEC_ANSWER_MAX_BYTES,
            retry_for=retry_for,
        )
        if not isinstance(answer.document, dict):
            raise answer.not_understood("the result of a command")
        return ExecResult.parse(answer.document)

    def spare_exec(self, app: str, machine_id: str) -> Awaitable[float]:
        """Wait until a command may be run at once and another one after it.

        Seconds that the first may take without keeping the next one after those two waiting.
        """
        path = f"{_machine_path(app, machine_id)}/exec"
        return self._connection.limits.spare_turn("POST", path)

    async def metadata(self, app: str, machine_id: str) -> dict[str, str]:
        raw = (await self._call("GET", f"{_machine_path(app, machine_id)}/metadata")).document
        pairs = raw.items() if isinstance(raw, dict) else ()
        return {key: value for key, value in pairs if isinstance(value, str)}

    # The logs host.

    async def logs_page(
        self, app: str, instance: str = "", next_token: str = "", region: str = ""
    ) -> LogsPage:
        """At most 100 entries after `next_token`, oldest first; without one the latest. Never repeated."""
        given = (("next_token", next_token), ("instance", instance), ("region", region))
        path = f"/api/v1/apps/{_segment(app)}/logs"
        answer = await self._call("GET", path, query=[(key, value) for key, value in given if value],
                                  retry_for=0.0)  # fmt: skip
        return LogsPage.parse(answer.document)


def _machine(answer: Answer) -> Machine:
    machine = Machine.parse(answer.document)
    if not machine.id:
        raise answer.not_understood("a machine")
    return machine


def _app(app: str) -> str:
    return f"/v1/apps/{_segment(app)}"


def _machine_path(app: str, machine_id: str) -> str:
    return f"{_app(app)}/machines/{_segment(machine_id)}"


def _segment(text: str) -> str:
    """One path segment, whatever the text holds. Raises ValueError on what a path would swallow."""
    if text in ("", ".", ".."):
        raise ValueError(f"no name for a path: {text!r}")
    return quote(text, safe="")
