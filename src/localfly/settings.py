"""Every behaviour of Fly that is assumed, disputed or worth turning, as one named setting with its reason.

What the sources settle is not here: it is simply how localfly behaves. A setting can be given at the start
(`--set name=value`) and changed while running (`POST /_localfly/settings`).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping

# fmt: off
_REGIONS = ("ams", "arn", "bom", "cdg", "dfw", "ewr", "fra", "gru", "iad", "jnb", "lax", "lhr", "nrt", "ord",
            "sin", "sjc", "syd", "yyz")
# fmt: on

Value = bool | int | float | str | tuple[str, ...]


class SettingError(ValueError):
    """A setting that does not exist, or a value it cannot take."""


def _setting(default: Value, doc: str, *choices: str) -> Any:
    return field(default=default, metadata={"doc": doc, "choices": choices})


@dataclass
class Settings:
    """The settings and their defaults: a fast, permissive Fly that answers in the newest recorded shapes."""

    # Who may do what.
    tokens: tuple[str, ...] = _setting((), "Tokens that are accepted, without scheme; empty: any token is.")
    caller: str = _setting(
        "deploy", "What /v1/tokens/current says of the caller: one app, or the organisation.", "deploy", "org"
    )
    logs_readable: bool = _setting(True, "False: the logs host answers 401, as deploy tokens have met.")
    logs_refuse_bearer_macaroon: bool = _setting(
        True, "The logs host answers 401 to a macaroon that comes as Bearer instead of FlyV1."
    )
    rate_limits: bool = _setting(
        False, "Per action and machine or app: 1 request/s, burst 3; Get Machine 5/s, burst 10; then 429."
    )

    # Apps, regions, hosts.
    apps: tuple[str, ...] = _setting(("local",), "Apps that exist from the start.")
    organization: str = _setting("personal", "Slug of the only organisation.")
    region: str = _setting("iad", "Where a machine without a region lands.")
    regions: tuple[str, ...] = _setting(
        _REGIONS,
        "Regions that exist; any other is refused.",
    )
    full_regions: tuple[str, ...] = _setting((), "Regions without capacity: 422 insufficient_capacity.")
    flaps_affinity: bool = _setting(True, "Answers to writes set the cookie fly_flaps_affinity.")
    stale_reads_s: float = _setting(
        0.0, "A request without the affinity cookie does not see machines younger than this."
    )

    # A machine's life.
    boot_delay_s: float = _setting(0.0, "Time in `created`: the image pull.")
    destroy_delay_s: float = _setting(0.02, "Time in `destroying`.")
    destroyed_retention_s: float = _setting(
        600.0, "How long a destroyed machine still answers GET and events."
    )
    missing_image: str = _setting(
        "failed",
        "An image nobody has. failed: created, then state failed and a runner line; refused: 400.",
        "failed",
        "refused",
    )
    exit_event_shape: str = _setting(
        "explicit",
        "How exits are told. explicit: all keys (2026); omitted_zeros: none that is zero (2022); monitor: the"
        " same under MonitorEvent; crash: bare, and fatal signals are type crash with exit_code -1 (2026);"
        " millis: all keys, exited_at in ms (2022); none: no exit event at all.",
        "explicit",
        "omitted_zeros",
        "monitor",
        "crash",
        "millis",
        "none",
    )

    # Waiting.
    wait_stopped_needs_version: bool = _setting(
        False, "400 to wait?state=stopped without version, as the prose documentation has it."
    )
    wait_destroyed_answers: bool = _setting(
        False, "A wait begun after the end answers for retained machines; False: 404 as flyctl meets it."
    )

    # Exec.
    exec_as_root: bool = _setting(True, "False: commands run as nobody (only where localfly itself is root).")
    exec_stdin_max_bytes: int = _setting(1 << 20, "More stdin than this is refused with 413.")
    exec_output_max_bytes: int = _setting(1 << 20, "stdout and stderr are each cut here.")
    exec_timeout_max_s: float = _setting(60.0, "No exec lives longer, whatever its `timeout` says; then 408.")
    exec_timeout_default_s: float = _setting(30.0, "For an exec without `timeout`.")
    exec_exit_code_zero: str = _setting(
        "explicit", "Whether exit_code 0 is spelled out or left away.", "explicit", "omitted"
    )

    # Logs.
    platform_lines: bool = _setting(True, "Lines of the runner and of init around the workload's own.")
    log_lag_s: float = _setting(0.0, "Time until a line can be read; 1 to 3 s have been seen.")
    log_line_max_bytes: int = _setting(16_384, "Longer lines arrive in pieces of this size.")
    log_timestamp_step_ns: int = _setting(
        1, "Coarser than 1: several lines share a timestamp, so that page boundaries lose or repeat some."
    )
    log_boundary: str = _setting(
        "after", "Lines bearing exactly next_token's time: not given again, or repeated.", "after", "repeat"
    )
    log_cursor_form: str = _setting("string", "next_token as JSON string or number.", "string", "number")
    log_cursor_when_empty: str = _setting(
        "omitted", "next_token of a page without lines.", "omitted", "repeated"
    )

    # This machine.
    host_network: bool = _setting(
        sys.platform == "linux", "docker: containers share the host's network, so that they reach loopback."
    )
    pull_images: str = _setting(
        "never", "docker: ask the image's registry when the engine has no such image.", "never", "missing"
    )
    keep_machines: bool = _setting(False, "Leave containers and processes running when localfly ends.")

    def change(self, changes: Mapping[str, object]) -> None:
        """Set several at once, all or none. Raises SettingError."""
        checked = {name: _checked(name, value) for name, value in changes.items()}
        for name, value in checked.items():
            setattr(self, name, value)

    @classmethod
    def from_pairs(cls, pairs: list[str]) -> Settings:
        """Read `name=value` words; a value is JSON if it can be read so, else text. Raises SettingError."""
        settings = cls()
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals:
                raise SettingError(f"not name=value: {pair}")
            settings.change({name: _json_or_text(text)})
        return settings

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def describe() -> str:
    """All settings with default and reason, for `--help-settings`."""
    lines = []
    for each in dataclasses.fields(Settings):
        default = json.dumps(each.default)
        lines.append(f"{each.name}={default}\n    {each.metadata['doc']}")
    return "\n".join(lines)


def _json_or_text(text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except ValueError:
        return text


def _checked(name: str, value: object) -> Value:
    fields = {each.name: each for each in dataclasses.fields(Settings)}
    if name not in fields:
        raise SettingError(f"no such setting: {name}")
    kind = get_type_hints(Settings)[name]
    choices = fields[name].metadata["choices"]
    if get_origin(kind) is tuple:
        items = value if isinstance(value, list | tuple) else None
        if items is None or not all(isinstance(item, get_args(kind)[0]) for item in items):
            raise SettingError(f"{name} takes a list of texts")
        return tuple(items)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise SettingError(f"{name} takes a {kind.__name__}")
    if choices and value not in choices:
        raise SettingError(f"{name} is one of {', '.join(choices)}")
    return cast("Value", value)
