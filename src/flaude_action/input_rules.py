"""What several inputs mean together: each rule tells what is wrong with values that are right by themselves.

How one value is read is `input_values`', and which inputs there are `inputs`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flaude_action.claude_args import LETS_IN, UNLESS, wrong_claude_args
from flaude_action.credential_forms import SECRET_INPUTS, all_texts, forms_of, holders
from flaude_action.held_credentials import RUNNER_ONLY, held_credentials, told_apart
from flaude_action.machine_size import SIZES, memory_limits, nearest_memory
from flaude_action.refused import Refused
from flaude_action.untrusted import quoted
from flaude_guest.protocol import configuring_members, configuring_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from flaude_action.inputs import Inputs

DAY_S = 24 * 3600.0
_RUNNER_ONLY = ("github_token", "fly_api_token")
_OF_ITS_OWN = {
    "anthropic_api_key": "Pass the secret that holds the API key.",
    "claude_code_oauth_token": "Pass the secret that holds what `claude setup-token` printed.",
    "clone_token": "Make a token that can only read contents; public repositories need none.",
}
"""Credentials that go to the machine, and what to pass when one is a token of the runner's."""

_ALTERNATIVES = {
    ("prompt", "prompt_file"): "Keep one of `prompt:` and `prompt_file:`.",
    ("anthropic_api_key", "claude_code_oauth_token"): "Keep the one that shall be billed.",
    ("image", "base_image", "dockerfile"): "Keep one of `image:`, `base_image:` and `dockerfile:`.",
}

# What a rule says of an input may also rest on these.
_ALSO: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt_file",),
    "anthropic_api_key": ("claude_code_oauth_token",),
    "claude_code_oauth_token": ("anthropic_api_key",),
    "cpus": ("cpu_kind",),
    "memory_mb": ("cpu_kind", "cpus"),
    "claude_args": ("project_settings",),
    "settings": ("project_settings",),
    "env": ("project_settings",),
}


def broken_rules(inputs: Inputs, given: Mapping[str, str], unread: set[str]) -> list[tuple[str, Refused]]:
    """What all rules find; `given` has the inputs that are set, as they came.

    Nothing is said that rests on an unread input: it would be about a default.
    """
    found = (problem for rule in _RULES for problem in rule(inputs, given))
    sure = [(name, why) for name, why in found if not unread & {name, *_ALSO.get(name, ())}]
    return sure + list(_one_of_each(given))


def _one_of_each(given: Mapping[str, str]) -> Iterator[tuple[str, Refused]]:
    """What is given beside another that excludes it, whether or not it could be read."""
    for names, hint in _ALTERNATIVES.items():
        first, *others = [name for name in names if name in given] or [""]
        for name in others:
            yield name, Refused(f"`{first}` is given too.", hint)


def leaks(
    given: Mapping[str, str], values: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Refused]]:
    """Inputs that carry a credential which is not theirs to carry, in a file they name too.

    The agent is to hold none of those that we know: `values` are the inputs that could be read, and what the
    runner holds besides them is in `environ`.
    """
    ours = {f"`{name}`": forms_of(name, given[name]) for name in SECRET_INPUTS if name in given}
    same = {form for forms in ours.values() for form in forms}
    held = told_apart(held_credentials(environ), same)
    texts = {name: f"{text}\n{all_texts(_of_file(values.get(name)))}" for name, text in given.items()}
    others = {name: text for name, text in texts.items() if name not in SECRET_INPUTS}
    for field, name in holders(others, ours | held):
        yield field, Refused(f"It holds the value of {name}.", "The machine gets its credentials by itself.")
    machines = {name: texts[name] for name in _OF_ITS_OWN if name in given}
    runners = {name: forms for name, forms in held.items() if name.strip("`") in RUNNER_ONLY}
    for field, name in holders(machines, runners):
        yield (
            field,
            Refused(f"It holds the value of {name}, which never goes to a machine.", _OF_ITS_OWN[field]),
        )


def _of_file(value: Any) -> Any:
    """The text of an input that names a file, any other value as it is."""
    return getattr(value, "text", value)


def fitting_memory(inputs: Inputs, unread: set[str]) -> str:
    """What to write for `memory_mb`; "" where it is not known for which CPUs."""
    kind, cpus = inputs.cpu_kind, inputs.cpus
    if unread & {"cpu_kind", "cpus"} or cpus not in SIZES[kind].cpus:
        return ""
    low, high = memory_limits(kind, cpus)
    fits = f"{cpus} {kind} CPU{'s' if cpus > 1 else ''} can have that"
    return f"Write a multiple of {SIZES[kind].memory_step} from {low} to {high}: {fits}."


def _task_rule(inputs: Inputs, _: Mapping[str, str]) -> Iterator[tuple[str, Refused]]:
    if inputs.prompt_file and not inputs.prompt and not inputs.task.strip():
        yield "prompt_file", Refused("The file is empty.", "", "prompt_missing")
    elif not inputs.task:
        yield "prompt", Refused("Neither `prompt` nor `prompt_file` is given.", "", "prompt_missing")


def _credential_rule(inputs: Inputs, _: Mapping[str, str]) -> Iterator[tuple[str, Refused]]:
    key, token = inputs.anthropic_api_key, inputs.claude_code_oauth_token
    if not key and not token:
        said = "Neither `anthropic_api_key` nor `claude_code_oauth_token` has a value."
        yield "anthropic_api_key", Refused(said, "", "secret_missing")
    if key and key.get_secret_value().startswith("sk-ant-oat"):
        yield "anthropic_api_key", Refused("It is an OAuth token.", "Pass it as `claude_code_oauth_token:`.")
    runners = {name: getattr(inputs, name) for name in _RUNNER_ONLY if getattr(inputs, name)}
    known = {name: forms_of(name, token.get_secret_value()) for name, token in runners.items()}
    machines = {name: all_texts(getattr(inputs, name)) for name in _OF_ITS_OWN}
    for name, runners_own in holders(machines, known):
        said = f"It is the same as `{runners_own}`, which never goes to a machine."
        yield name, Refused(said, _OF_ITS_OWN[name])


def _machine_rule(inputs: Inputs, _: Mapping[str, str]) -> Iterator[tuple[str, Refused]]:
    if not inputs.fly_api_token:
        yield "fly_api_token", Refused("It is empty.", "", "secret_missing")
    if not inputs.fly_app:
        yield (
            "fly_app",
            Refused(
                "It is empty.", "Create an app with `fly apps create <app> --network <app>` and name it here."
            ),
        )
    kind, cpus, memory_mb = inputs.cpu_kind, inputs.cpus, inputs.memory_mb
    if cpus not in SIZES[kind].cpus:
        choices = ", ".join(map(str, SIZES[kind].cpus))
        yield "cpus", Refused(f"Fly has no {kind} machine with {cpus} CPUs.", f"Write one of {choices}.")
        return
    nearest = nearest_memory(kind, cpus, memory_mb)
    if memory_mb not in nearest:
        said = f"Fly has no {kind} machine with {cpus} CPUs and {memory_mb} MB."
        yield "memory_mb", Refused(said, f"Write {' or '.join(map(str, nearest))}.")


def _agent_rule(inputs: Inputs, given: Mapping[str, str]) -> Iterator[tuple[str, Refused]]:
    always = inputs.project_settings == "always"
    for problem in wrong_claude_args(inputs.claude_args, frozenset(given), project_settings=always):
        yield "claude_args", problem
    for name in [] if always or not inputs.settings else configuring_members(inputs.settings):
        yield "settings", Refused(f"{quoted(name)} in it {LETS_IN}", f"Leave it out, {UNLESS}")
    for name in [] if always else configuring_variables(inputs.env):
        yield "env", Refused(f"{quoted(name)} {LETS_IN}", f"Leave it out, {UNLESS}")
    for name in ("timeout", "idle_timeout"):
        if getattr(inputs, name) > DAY_S:
            yield name, Refused("It is longer than a day.", "Write 90s, 45m or 2h.")


_RULES = (_task_rule, _credential_rule, _machine_rule, _agent_rule)
