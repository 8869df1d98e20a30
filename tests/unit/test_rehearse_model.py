"""Which model a rehearsal has."""

from __future__ import annotations

import httpx
import pytest

from flaude_action.rehearsal.model import about_the_model, own_model, scripted_model
from flaude_action.rehearsal.scenes import SCENES
from localfly.messages_script import Script

KEY = {"ANTHROPIC_API_KEY": "sk-ant-mine"}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_the_scripts(scene) -> None:  # type: ignore[no-untyped-def]
    """Every scene's script is one."""
    assert Script.model_validate(scene.turns()).turns


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_an_edit_changes_the_length(scene) -> None:  # type: ignore[no-untyped-def]
    """An edit within the second after a test run is seen by the next one: Python takes a compiled file for
    fresh when its source has the same size and the same time in whole seconds."""
    tools = [tool for turn in scene.turns()["turns"] for tool in turn.get("tools", ())]
    edits = [tool["input"] for tool in tools if tool["name"] == "Edit"]
    assert edits
    assert all(len(edit["old_string"]) != len(edit["new_string"]) for edit in edits)


def test_no_credential() -> None:
    """Without a credential the model is the script, whatever plays the machines."""
    assert own_model({}, "docker") == {}
    assert "costs nothing" in about_the_model({}, "docker")


def test_a_credential_and_containers() -> None:
    """With a credential and containers the user's own model is taken, within limits that are said."""
    assert own_model(KEY, "docker") == {
        "anthropic_api_key": "sk-ant-mine",
        "max_turns": "20",
        "max_budget_usd": "1",
    }
    assert "ANTHROPIC_API_KEY is set (for at most 1 USD)" in about_the_model(KEY, "docker")


def test_a_credential_and_processes() -> None:
    """A real model is never let loose in processes of the user's computer, and this is said."""
    assert own_model(KEY, "process") == {}
    assert "although ANTHROPIC_API_KEY is set" in about_the_model(KEY, "process")


def test_no_credential_is_said() -> None:
    """What is said names the variable, never its value."""
    assert "sk-ant-mine" not in about_the_model(KEY, "docker") + about_the_model(KEY, "process")


async def test_the_scripted_model_takes_only_its_own_credential() -> None:
    """The step's inputs lead to the script; another credential does not."""
    request = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    async with scripted_model({"turns": [{"text": "one"}]}) as inputs, httpx.AsyncClient() as client:
        url = f"{inputs['anthropic_base_url']}/v1/messages"
        right = await client.post(url, json=request, headers={"x-api-key": inputs["anthropic_api_key"]})
        wrong = await client.post(url, json=request, headers={"x-api-key": "sk-ant-mine"})
    assert (right.status_code, wrong.status_code) == (200, 401)
