"""The job document: what the guest takes from the host, and what it refuses to act on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.guest import NONCE, job

from flaude_guest.job import JobRefused, read

REPOSITORY = {
    "url": "https://github.com/o/n.git",
    "ref": "main",
    "sha": "a" * 40,
    "directory": "n",
    "token": "secret",
}


def test_a_whole_job() -> None:
    """Every field arrives; empty means absent, and nothing secret is in the repr."""
    document = job(
        repositories=[REPOSITORY],
        setup="make",
        env={"A": "1"},
        agent={
            "model": None,
            "max_turns": 3,
            "max_budget_usd": 0.5,
            "allowed_tools": ["Bash"],
            "json_schema": "{}",
        },
        anthropic_base_url="http://model",
        show_full_output=True,
    )
    taken = read(document, NONCE)
    assert taken.repositories[0].token == "secret"
    assert (taken.agent.model, taken.agent.max_turns, taken.agent.max_budget_usd) == ("", 3, 0.5)
    assert taken.agent.allowed_tools == ("Bash",)
    assert dict(taken.credentials) == {
        "ANTHROPIC_API_KEY": "test-api-key",
        "ANTHROPIC_BASE_URL": "http://model",
    }
    assert taken.limits.timeout_s == 60
    assert taken.show_full_output is True
    for secret in ("secret", "test-api-key", "Do the work"):
        assert secret not in repr(taken)


@pytest.mark.parametrize("ref", ["main", "a/b-c_d.e", "refs/heads/x", "refs/pull/1/merge", "v1.0", "ünï"])
def test_refs_that_are_refs(ref: str) -> None:
    """What git calls a ref is taken."""
    assert read(job(repositories=[{**REPOSITORY, "ref": ref}]), NONCE).repositories[0].ref == ref


@pytest.mark.parametrize(
    "ref",
    ["-x", "--upload-pack=touch x", "a..b", "a b", "a\nb", "a:b", "+a:b", "a~1", "a^", "a?", "a*", "a[b",
     "a\\b", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "@", "a@{1}", "\x7f"],
)  # fmt: skip
def test_refs_that_are_none(ref: str) -> None:
    """Options, ranges, refspecs and what git forbids in a name are refused."""
    with pytest.raises(JobRefused) as caught:
        read(job(repositories=[{**REPOSITORY, "ref": ref}]), NONCE)
    assert caught.value.type == "config_invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": 7},
        {"prompt": "nul \0"},
        {"prompt": "half \ud800"},
        {"env": {"A=B": "x"}},
        {"env": {"A": 1}},
        {"env": []},
        {"repositories": "x"},
        {"repositories": [7]},
        {"repositories": [REPOSITORY, REPOSITORY]},
        {"repositories": [{**REPOSITORY, "url": "ssh://host/x"}]},
        {"repositories": [{**REPOSITORY, "url": "ext::sh -c id"}]},
        {"repositories": [{**REPOSITORY, "url": "https://user:pass@host/x"}]},
        {"repositories": [{**REPOSITORY, "url": "https://host/x y"}]},
        {"repositories": [{**REPOSITORY, "directory": "../n"}]},
        {"repositories": [{**REPOSITORY, "directory": ".git"}]},
        {"repositories": [{**REPOSITORY, "directory": ""}]},
        {"repositories": [{**REPOSITORY, "sha": "abc"}]},
        {"agent": {"session_id": "not-a-uuid"}},
        {"agent": {"claude_args": ["--", "x"]}},
        {"agent": {"max_turns": True}},
        {"agent": {"max_turns": 0}},
        {"limits": {"timeout_s": -1}},
        {"limits": {"timeout_s": float("inf")}},
        {"limits": {"hold_s": "long"}},
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    """A wrong field is refused by its name and without its value."""
    with pytest.raises(JobRefused) as caught:
        read(job(**change), NONCE)
    assert caught.value.type == "config_invalid"
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("document", [None, [], "x", {}])
def test_documents_that_are_no_job(document: Any) -> None:
    """Anything but a job for this machine is refused."""
    with pytest.raises(JobRefused):
        read(document, NONCE)
