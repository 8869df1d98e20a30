"""The library's calls refuse what cannot run before any request."""

from __future__ import annotations

import pytest

from flaude_action.errors import ConfigError
from flaude_action.machine_config import MachineConfig
from flaude_action.run import ensure_app, run_and_destroy

CONFIG = MachineConfig(prompt="Fix it.", anthropic_api_key="sk-ant-api03-0123456789")


@pytest.mark.parametrize(
    ("name", "told"), [("", "No Fly app: give its name."), ("My App", "`My App` is not")]
)
async def test_the_app_needs_a_name(name: str, told: str) -> None:
    """An app's name that is missing or none is told as that, with what to give."""
    for call in (run_and_destroy(name, CONFIG, token="fm2_x"), ensure_app(name, token="fm2_x")):
        with pytest.raises(ConfigError) as caught:
            await call
        assert told in caught.value.message
        assert caught.value.hint


async def test_all_that_is_missing_is_told() -> None:
    """The app's name and the config's problems come together."""
    with pytest.raises(ConfigError) as caught:
        await run_and_destroy("", MachineConfig(), token="fm2_x")
    assert [each.type for each in caught.value.problems] == [
        "config_invalid", "prompt_missing", "secret_missing",
    ]  # fmt: skip
