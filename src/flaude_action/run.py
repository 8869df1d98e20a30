"""The library: run Claude Code on a machine of its own and get the result, as one call or line by line.

Names and signatures are flaude's where flaude has them. The run in progress is `streaming_run`, the value it
ends with `run_result`; the GitHub step is `action`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from flaude_action.credential_forms import fly_forms, holders
from flaude_action.errors import ConfigError, FlyAPIError
from flaude_action.fly import Fly
from flaude_action.fly_access import base_urls
from flaude_action.held_credentials import RUNNER_ONLY
from flaude_action.input_values import app_name as read_app_name
from flaude_action.refused import Refused
from flaude_action.streaming_run import Start, StreamingRun
from flaude_action.waiting import Deadline
from flaude_guest.protocol import last_exit_marker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flaude_action.fly_access import SecretText
    from flaude_action.fly_models import App
    from flaude_action.machine_config import MachineConfig
    from flaude_action.run_result import RunResult

APP_VISIBLE_S = 60.0


async def run_with_logs(
    app_name: str,
    config: MachineConfig,
    *,
    name: str | None = None,
    token: str | SecretText | None = None,
    wait_timeout: float = 3600.0,
) -> StreamingRun:
    """Start a run and return as soon as its machine exists.

    `token` defaults to `FLY_API_TOKEN`; `wait_timeout` is in seconds, from now to the machine's end. Raises
    ConfigError before any request, FlyAPIError when no machine came to be.
    """
    _check(app_name, config, token)
    run = StreamingRun(Start(app_name, config, name or "", _token(token), wait_timeout))
    try:
        await run.created()
    except asyncio.CancelledError:
        await run.cleanup()
        raise
    return run


async def run_and_destroy(
    app_name: str,
    config: MachineConfig,
    *,
    name: str | None = None,
    token: str | SecretText | None = None,
    wait_timeout: float = 3600.0,
    raise_on_failure: bool = True,
) -> RunResult:
    """Run to the end; the machine is destroyed whatever happens, also when the calling task is cancelled.

    Raises as `StreamingRun.result` and `run_with_logs` do.
    """
    run = await run_with_logs(app_name, config, name=name, token=token, wait_timeout=wait_timeout)
    async with run:
        return await run.result(raise_on_failure=raise_on_failure)


async def ensure_app(app_name: str, *, org: str = "personal", token: str | SecretText | None = None) -> App:
    """The app, created in `org` with a private network of its own when it does not exist yet.

    Raises ConfigError for a name that is none, FlyAPIError also when it belongs to an organisation the token
    cannot see.
    """
    _check(app_name)
    flaps, api = base_urls(os.environ)
    async with Fly(_token(token), flaps_url=flaps, api_url=api) as fly:
        try:
            return await fly.get_app(app_name)
        except FlyAPIError as error:
            if error.status_code != 404:
                raise
        await fly.create_app(app_name, org, network=app_name)
        return await _once_visible(fly, app_name)


def extract_exit_code_from_logs(logs: list[str]) -> int | None:
    """The code of the last `[flaude:exit:N]` in the lines, None without one. Anyone can print the marker."""
    return last_exit_marker(logs)


async def _once_visible(fly: Fly, app_name: str) -> App:
    """A new app may answer 404 or 401 for a while (fly-go waits up to a minute)."""
    deadline = Deadline.after(APP_VISIBLE_S)
    while True:
        try:
            return await fly.get_app(app_name)
        except FlyAPIError as error:
            if error.status_code not in (401, 404) or deadline.passed:
                raise
        await asyncio.sleep(0.5)


def _check(app: str, config: MachineConfig | None = None, token: str | SecretText | None = None) -> None:
    """Raise ConfigError with all that is wrong, before any request."""
    problems = []
    if not app:
        hint = "Make one with `fly apps create <app> --network <app>`, or with `ensure_app`."
        problems.append(ConfigError("config_invalid", "No Fly app: give its name.", hint=hint))
    else:
        try:
            read_app_name(app)
        except Refused as why:
            problems.append(ConfigError("config_invalid", why.message, hint=why.hint))
    try:
        if config is not None:
            config.check()
    except ConfigError as error:
        problems += error.problems
    if config is not None:
        problems += _leaks(config, token)
    if problems:
        raise ConfigError.of(problems)


def _leaks(config: MachineConfig, token: str | SecretText | None) -> Iterator[ConfigError]:
    """Fields that carry a token of ours which no machine is to have."""
    runners = {f"`{name}`": forms(os.environ.get(name, "")) for name, forms in RUNNER_ONLY.items()}
    known = {"the Fly token": fly_forms(_revealed(token)), **runners}
    first: dict[str, str] = {}
    for field, name in holders(config.texts(), known):
        first.setdefault(field, name)
    for field, name in first.items():
        text = f"MachineConfig.{field} holds the value of {name}, which never goes to a machine."
        yield ConfigError("config_invalid", text, hint="Leave it out: the machine needs no token for Fly.")


def _revealed(token: str | SecretText | None) -> str:
    return token if isinstance(token, str) else token.get_secret_value() if token is not None else ""


def _token(given: str | SecretText | None) -> str:
    token = _revealed(given) or os.environ.get("FLY_API_TOKEN", "")
    if not token:
        raise ConfigError("secret_missing", "No Fly token: pass token= or set FLY_API_TOKEN.")
    return token
