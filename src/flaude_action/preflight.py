"""From inputs and event to what the machine will be asked to do; every problem found before money is spent.

Looks, but changes nothing: one question to Fly (does the app exist, may the token use it), and to GitHub only
what the event leaves open: the head of a commented pull request, a private repository's commit. Whether the
event may be trusted is not decided here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flaude_action.archive_links import by_archive
from flaude_action.env_input import looks_secret
from flaude_action.errors import ConfigError, FlaudeError, FlyAPIError
from flaude_action.github import GitHub
from flaude_action.machine_config import MachineConfig
from flaude_action.repo_spec import RepoSpec
from flaude_action.run_report import for_app
from flaude_action.secret import SecretStr

if TYPE_CHECKING:
    from flaude_action.event import Checkout, Event
    from flaude_action.fly import Fly
    from flaude_action.inputs import Inputs

USER_ERRORS = ("app_not_found", "machine_auth_failed", "clone_auth_failed", "clone_ref_not_found")
"""What a look-up may find that only the user can put right: told like a wrong input."""


@dataclass(frozen=True)
class Plan:
    """What to run, but for the image; `is_fork` says that the head to work on comes from a fork.

    `settings` is a sentence on whether the repository's own Claude Code configuration is loaded, and why.
    """

    config: MachineConfig
    is_fork: bool
    settings: str


async def preflight(inputs: Inputs, event: Event, fly: Fly) -> Plan:
    """The run's plan. Raises ConfigError with all problems, FlaudeError when a service is down."""
    app, sources = await asyncio.gather(
        fly.get_app(inputs.fly_app), _sources(inputs, event), return_exceptions=True
    )
    problems: list[ConfigError] = []
    for found in (app, sources):
        if isinstance(found, BaseException):
            problems += _as_problems(found, inputs.fly_app)
    if problems:
        raise ConfigError.of(problems)
    assert not isinstance(sources, BaseException)  # noqa: S101 - it would have been a problem or raised
    repos, is_fork = sources
    isolated = isolated_because(inputs, event)
    config = replace(_config(inputs, repos), project_settings=not isolated)
    config.check()
    return Plan(config, is_fork, _settings_told(inputs, isolated))


def isolated_because(inputs: Inputs, event: Event) -> str:
    """Why the repository's own Claude Code configuration is not loaded; "" when it is.

    Whoever wrote what is checked out has the say over it, so by itself it is loaded only at the head of the
    workflow's own default branch, and of that only where it is sure.
    """
    if inputs.project_settings != "auto":
        return "`project_settings` is `never`" if inputs.project_settings == "never" else ""
    if inputs.extra_repositories:
        return "`extra_repositories` are checked out beside it"
    if inputs.repository or inputs.ref:
        own = event.names_default_branch(inputs.repository, inputs.ref)
        return "" if own else "`repository` and `ref` are not known to name your own default branch"
    if event.is_default_head:
        return ""
    if event.pull_number is not None:
        return "this is a pull request's head"
    return "this is not known to be the head of your own default branch"


def _settings_told(inputs: Inputs, isolated: str) -> str:
    what = "The repository's own Claude Code configuration"
    # Whether it has our guest is known when the machine is made; one without it starts Claude Code by itself.
    unless = " If `image` is not made by us, it decides that by itself." if inputs.image else ""
    if isolated:
        return f"{what} is not loaded: {isolated}. `project_settings: always` would load it.{unless}"
    always = inputs.project_settings == "always"
    why = "`project_settings` is `always`" if always else "this is the head of your own default branch"
    return f"{what} is loaded: {why}. `project_settings: never` would leave it out.{unless}"


async def _sources(inputs: Inputs, event: Event) -> tuple[list[RepoSpec], bool]:
    """What to fetch and how, and whether the event's head is a fork's."""
    async with GitHub(event.api_url, inputs.github_token) as github:
        checkout, is_fork = await _checkout(inputs, event, github)
        checkouts = [checkout]
        checkouts += [event.named_checkout(name, ref) for name, ref in inputs.extra_repositories]
        repos = [_repo(each, event, inputs.clone_token) for each in checkouts]
        if inputs.github_token:
            repos = [await by_archive(repo, event, github) for repo in repos]
    return repos, is_fork


async def _checkout(inputs: Inputs, event: Event, github: GitHub) -> tuple[Checkout, bool]:
    """The first repository; that the head is a fork's is not changed by naming a `ref`."""
    pull = None
    if event.pull_to_ask_for is not None:
        pull = await github.get_pull(event.repository, event.pull_to_ask_for)
    is_fork = pull.is_fork if pull is not None else event.is_fork
    if inputs.repository or inputs.ref:
        return event.named_checkout(inputs.repository, inputs.ref), is_fork
    return event.checkout(pull), is_fork


def _as_problems(found: BaseException, app: str) -> list[ConfigError]:
    """The problems an exception of a look-up stands for; raises it when it is no problem of the user's."""
    if isinstance(found, ConfigError):
        return found.problems
    if not isinstance(found, FlaudeError) or found.type not in USER_ERRORS:
        raise found
    details, hint = found.details, found.hint
    if isinstance(found, FlyAPIError):
        details = f"The app is {app!r}. {details}"
        hint = for_app(hint, app)
    return [ConfigError(found.type, details=details, hint=hint, dev=found.dev, meta=found.meta)]


def _config(inputs: Inputs, repos: list[RepoSpec]) -> MachineConfig:
    return MachineConfig(
        prompt=inputs.task,
        claude_code_oauth_token=inputs.claude_code_oauth_token or "",
        anthropic_api_key=inputs.anthropic_api_key or "",
        anthropic_base_url=inputs.anthropic_base_url or "",
        repos=repos,
        setup=inputs.setup or "",
        regions=inputs.regions,
        cpu_kind=inputs.cpu_kind,
        vm_cpus=inputs.cpus,
        vm_memory_mb=inputs.memory_mb,
        env={
            name: SecretStr(value) if looks_secret(name, value) else value
            for name, value in inputs.env.items()
        },
        model=inputs.model or "",
        max_turns=inputs.max_turns,
        max_budget_usd=inputs.max_budget_usd,
        claude_args=inputs.claude_args,
        settings=inputs.settings or "",
        allowed_tools=inputs.allowed_tools,
        append_system_prompt=inputs.append_system_prompt or "",
        json_schema=inputs.json_schema or "",
        timeout_s=inputs.timeout,
        idle_timeout_s=inputs.idle_timeout,
        show_full_output=inputs.show_full_output,
    )


def _repo(checkout: Checkout, event: Event, token: SecretStr | None) -> RepoSpec:
    """The token is for GitHub's own host and goes to no other."""
    theirs = checkout.clone_url.startswith(event.server_url + "/")
    return RepoSpec(
        checkout.clone_url, branch=checkout.ref, sha=checkout.sha, token=token if theirs else None
    )
