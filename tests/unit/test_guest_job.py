"""The job document: what the guest takes from the host, and what it refuses to act on."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.support.guest import NONCE, job

from flaude_guest.job_document import JobRefused, read

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


def test_what_the_log_hides() -> None:
    """Tokens, keys and what the host masks of `env`; names that are not in it do not matter."""
    variables = {"A": "one-secret", "B": "plain"}
    taken = read(job(repositories=[REPOSITORY], env=variables, masked_env=["A", "C"]), NONCE)
    sent = base64.b64encode(b"x-access-token:secret").decode()
    assert sorted(taken.secrets) == sorted(["one-secret", "secret", sent, "test-api-key"])


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
        {"agent": {"claude_args": ["--setting-sources=user"]}},
        {"agent": {"claude_args": ["--plugin-dir", "pass"]}},
        {"agent": {"settings": "pass.json"}},
        {"agent": {"settings": '{"env": {"CLAUDE_CODE_PLUGIN_DIRS": "pass"}}'}},
        {"agent": {"settings": '{"env": {"BUN_OPTIONS": "pass"}}', "project_settings": "true"}},
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


def test_project_settings_have_to_be_asked_for() -> None:
    """Only true is true; then files of the repository may be named."""
    assert read(job(), NONCE).agent.project_settings is False
    assert read(job(agent={"project_settings": 1}), NONCE).agent.project_settings is False
    options = {"project_settings": True, "settings": "a.json", "claude_args": ["--plugin-dir", "x"]}
    taken = read(job(agent=options), NONCE).agent
    assert (taken.project_settings, taken.settings, taken.claude_args) == (
        True,
        "a.json",
        ("--plugin-dir", "x"),
    )


ARCHIVE = {"url": "https://codeload.example/o/n/legacy.tar.gz/x?token=hidden-token", "tree": "b" * 40}


def test_an_archive() -> None:
    """A link and a tree id for a pinned commit; link and token are secrets and not in the repr."""
    taken = read(job(repositories=[{**REPOSITORY, "archive": ARCHIVE}]), NONCE)
    archive = taken.repositories[0].archive
    assert archive is not None
    assert (archive.url, archive.tree) == (ARCHIVE["url"], ARCHIVE["tree"])
    assert {"hidden-token", ARCHIVE["url"]} <= set(taken.secrets)
    spelt = {**ARCHIVE, "url": ARCHIVE["url"] + "%2Bmore"}
    again = read(job(repositories=[{**REPOSITORY, "archive": spelt}]), NONCE)
    assert {"hidden-token+more", "hidden-token%2Bmore", spelt["url"]} <= set(again.secrets)
    assert "hidden" not in repr(taken)
    assert read(job(repositories=[{**REPOSITORY, "archive": None}]), NONCE).repositories[0].archive is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:8/x"])
def test_an_archive_on_this_machine(url: str) -> None:
    """Only here may the link be http."""
    archive = {**ARCHIVE, "url": url}
    assert read(job(repositories=[{**REPOSITORY, "archive": archive}]), NONCE).repositories[0].archive


@pytest.mark.parametrize(
    "change",
    [
        {"archive": "https://host/x"},
        {"archive": {}},
        {"archive": {**ARCHIVE, "tree": "b" * 39}},
        {"archive": {**ARCHIVE, "url": "http://codeload.example/x"}},
        {"archive": {**ARCHIVE, "url": "http://localhost.example/x"}},
        {"archive": {**ARCHIVE, "url": "file:///etc/passwd"}},
        {"archive": {**ARCHIVE, "url": "https://host/x y"}},
        {"archive": ARCHIVE, "sha": ""},
    ],
    ids=str,
)
def test_archives_that_are_refused(change: dict[str, Any]) -> None:
    """A link that anyone can read on the way, no tree, or no commit to be the archive of."""
    with pytest.raises(JobRefused) as caught:
        read(job(repositories=[{**REPOSITORY, **change}]), NONCE)
    assert caught.value.type == "config_invalid"


@pytest.mark.parametrize("document", [None, [], "x", {}])
def test_documents_that_are_no_job(document: Any) -> None:
    """Anything but a job for this machine is refused."""
    with pytest.raises(JobRefused):
        read(document, NONCE)
