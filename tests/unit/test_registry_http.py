"""What a registry's challenge asks for."""

from __future__ import annotations

import pytest

from flaude_action.registry_http import bearer_challenge

REALM = {"realm": "https://auth.example/token"}


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ('Bearer realm="https://auth.example/token"', REALM),
        ("bearer Realm=https://auth.example/token", REALM),
        (
            'Bearer realm="https://auth.example/token",service="a b",scope="repository:a/b:pull,push"',
            REALM | {"service": "a b", "scope": "repository:a/b:pull,push"},
        ),
        ('Bearer realm="https://auth.example/token", Basic realm="the registry"', REALM),
        ('Basic realm="Bearer of a login", Bearer realm="https://auth.example/token"', REALM),
        ('Basic realm="the registry"', {}),
        ("Negotiate", {}),
        ("Bearer", {}),
        ("", {}),
    ],
)
def test_what_a_bearer_challenge_asks_for(header: str, asked: dict[str, str]) -> None:
    """Its parameters, whatever other schemes the registry takes as well."""
    assert bearer_challenge(header) == asked
