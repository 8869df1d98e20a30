"""Names of images: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from flaude_action.errors import ConfigError
from flaude_action.image_reference import Reference, is_loopback, parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian", Reference("docker.io", "library/debian", "latest")),
        ("debian:12", Reference("docker.io", "library/debian", "12")),
        ("docker.io/debian", Reference("docker.io", "library/debian", "latest")),
        ("me/tool:1", Reference("docker.io", "me/tool", "1")),
        ("ghcr.io/me/tool", Reference("ghcr.io", "me/tool", "latest")),
        ("localhost/tool", Reference("localhost", "tool", "latest")),
        ("127.0.0.1:5000/a/b:c", Reference("127.0.0.1:5000", "a/b", "c")),
        (f"registry.fly.io/app@{DIGEST}", Reference("registry.fly.io", "app", "", DIGEST)),
        (f"ghcr.io/me/tool:1@{DIGEST}", Reference("ghcr.io", "me/tool", "1", DIGEST)),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, expected: Reference) -> None:
    """Host, path, tag and digest; what is not written is Docker Hub's, and the tag `latest`."""
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "A", "docker://debian", "debian:", "debian@", f"debian@{DIGEST[:-1]}", "ghcr.io/", "ghcr.io//a",
     "a b", "a\n", "ghcr.io/a:b:c", "../a", "ghcr.io/../a", "a@b@c", "ghcr.io:x/a", "x" * 600, "ghcr.io/a?b",
     "me:pw@ghcr.io/a", ".ghcr.io/a", "ghcr..io/a", "-ghcr.io/a"],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    """Nothing that could lead a request elsewhere passes for a name."""
    with pytest.raises(ConfigError) as raised:
        parse_reference(text)
    assert raised.value.type == "config_invalid"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("localhost:5000", True), ("127.0.0.1:5000", True), ("127.9.9.9", True),
     ("[::1]:80", True), ("127.0.0.1.example.com", False), ("localhost.example.com", False),
     ("registry.fly.io", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_only_this_computer_is_spoken_to_without_tls(host: str, loopback: bool) -> None:
    """http is for loopback; everything else is https."""
    assert is_loopback(host) is loopback
    assert Reference(host, "a").base_url.startswith("http://" if loopback else "https://")
