"""Who we are to which registry."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from flaude_action.registry_credentials import credentials
from flaude_action.secret import SecretStr

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("token", "password"),
    [
        ("fm2_a", "fm2_a"),
        ("FlyV1 fm2_a,fm2_b", "fm2_a,fm2_b"),
        ("Bearer old", "old"),
        ("FlyV1  fm2_a, fm2_b ", "fm2_a,fm2_b"),
    ],
)
def test_flys_registry_takes_the_bare_token(token: str, password: str) -> None:
    """User `x`, no scheme, parts joined by commas, as flyctl sends it."""
    assert credentials(token, {}) == {"registry.fly.io": ("x", password)}
    assert credentials(SecretStr(token), {"FLY_REGISTRY_HOST": "r.example"}) == {"r.example": ("x", password)}


def test_the_token_of_the_environment_is_the_default() -> None:
    """None at all is no error: whoever only reads public images needs none."""
    assert credentials(None, {"FLY_API_TOKEN": "fm2_a"}) == {"registry.fly.io": ("x", "fm2_a")}
    assert credentials(None, {}) == {}


def test_stored_logins_are_read(tmp_path: Path) -> None:
    """Docker's own file, its old spellings of Docker Hub too; Fly's token goes before a stored one."""
    auth = base64.b64encode(b"me:p:w").decode()
    stored = {"https://index.docker.io/v1/": {"auth": auth}, "ghcr.io": {"auth": auth}, "helper.example": {},
              "registry.fly.io": {"auth": auth}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"auths": stored}))
    assert credentials("fm2_a", {"DOCKER_CONFIG": str(tmp_path)}) == {
        "docker.io": ("me", "p:w"),
        "ghcr.io": ("me", "p:w"),
        "registry.fly.io": ("x", "fm2_a"),
    }


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": 1}', '{"auths": {"a": 1}}', '{"auths": {"a": {"auth": "?"}}}']
)
def test_a_broken_config_is_none(tmp_path: Path, text: str) -> None:
    """It may belong to another program; the registry will say if a login is needed."""
    (tmp_path / "config.json").write_text(text)
    assert credentials(None, {"DOCKER_CONFIG": str(tmp_path)}) == {}
