"""Credentials in inputs that are for something else."""

from __future__ import annotations

import json

import pytest

from flaude_action.inline_credentials import inline_credentials

TOKEN = "npm_" + "a1B2c3D4e5F6" * 3


@pytest.mark.parametrize(
    ("settings", "claude_args", "setup"),
    [
        (json.dumps({"env": {"NPM_TOKEN": TOKEN, "EDITOR": "vim"}}), [], ""),
        (json.dumps({"env": {"ANTHROPIC_CUSTOM_HEADERS": TOKEN}}), [], ""),
        ("", ["--mcp-config", json.dumps({"mcpServers": {"m": {"env": {"API_KEY": TOKEN}}}})], ""),
        ("", ["--mcp-config=" + json.dumps({"m": [{"headers": {"Authorization": f"Bearer {TOKEN}"}}]})], ""),
        ("", ["--settings", json.dumps({"env": {"X": TOKEN}})], ""),
        ("", [], f"export NPM_TOKEN={TOKEN}\nnpm ci"),
        ("", [], f"cd web; export NPM_TOKEN='{TOKEN}' && npm ci"),
        ("", [], f'  export A=b\n  export NPM_TOKEN="{TOKEN}"'),
    ],
)  # fmt: skip
def test_they_are_found(settings: str, claude_args: list[str], setup: str) -> None:
    """By the name they are given, or by what they look like."""
    assert inline_credentials(settings, claude_args, setup) == [TOKEN]


@pytest.mark.parametrize(
    ("settings", "claude_args", "setup"),
    [
        ("", [], ""),
        ("[1]", ["--model", "opus", "--mcp-config={", "{", "{}"], "npm ci"),
        (json.dumps({"env": ["NPM_TOKEN"], "headers": 7, "model": TOKEN[:9]}), [], ""),
        (json.dumps({"env": {"NPM_TOKEN": "${NPM_TOKEN}", "EDITOR": "vim", "N": 7}}), [], ""),
        ("", ["--mcp-config", json.dumps({"mcpServers": {"m": {"headers": {"Accept": "text/html"}}}})], ""),
        ("", [], 'export NPM_TOKEN="$(cat token)"\nexport PATH=/opt/bin:$PATH\nexport NODE_ENV=test'),
        ("", [], "echo 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a' | sha256sum -c"),
    ],
)  # fmt: skip
def test_settings_are_none(settings: str, claude_args: list[str], setup: str) -> None:
    """Nor is what the shell puts in, or a checksum."""
    assert inline_credentials(settings, claude_args, setup) == []
