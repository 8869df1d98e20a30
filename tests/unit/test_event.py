"""What triggered the step, and the commit that follows from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flaude_action.errors import ConfigError
from flaude_action.event import Checkout, Event
from flaude_action.github_documents import PAYLOAD_BYTES, Branch, Pull, Repository

if TYPE_CHECKING:
    from pathlib import Path

HEAD, BASE, MERGE = "a" * 40, "b" * 40, "c" * 40
PULL = {
    "number": 7,
    "head": {"sha": HEAD, "ref": "x; rm -rf", "repo": {"full_name": "fork/repo"}},
    "base": {"sha": BASE, "repo": {"full_name": "owner/repo"}},
}
OWN_PULL = PULL | {"head": {"sha": HEAD, "repo": {"full_name": "owner/repo"}}}
ORPHAN_PULL = PULL | {"head": {"sha": HEAD, "repo": None}}


def event(tmp_path: Path, name: str, payload: Any = None, **more: str) -> Event:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(payload if payload is not None else {}))
    given = {
        "GITHUB_EVENT_NAME": name,
        "GITHUB_EVENT_PATH": str(path),
        "GITHUB_REPOSITORY": "owner/repo",
        "GITHUB_SHA": MERGE,
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_RUN_ID": "11",
        "GITHUB_RUN_ATTEMPT": "2",
        "GITHUB_JOB": "test",
        "GITHUB_ACTION": "__flaude",
    }
    return Event.from_env(given | more)


def at(sha: str, repository: str = "owner/repo", ref: str = "") -> Checkout:
    return Checkout(repository, f"https://github.com/{repository}.git", sha=sha, ref=ref)


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("pull_request", {"pull_request": OWN_PULL}, at(HEAD)),
        ("pull_request", {"pull_request": PULL}, at(HEAD, "fork/repo")),
        ("pull_request_target", {"pull_request": PULL}, at(HEAD, "fork/repo")),
        ("pull_request_review", {"pull_request": OWN_PULL}, at(HEAD)),
        ("pull_request_review_comment", {"pull_request": OWN_PULL}, at(HEAD)),
        ("pull_request", {"pull_request": ORPHAN_PULL}, at(HEAD, ref="refs/pull/7/head")),
        ("push", {}, at(MERGE, ref="refs/heads/main")),
        ("merge_group", {"merge_group": {"head_sha": MERGE}}, at(MERGE, ref="refs/heads/main")),
        ("schedule", {}, at(MERGE, ref="refs/heads/main")),
        ("workflow_dispatch", {}, at(MERGE, ref="refs/heads/main")),
        ("issues", {"issue": {"number": 3}}, at(MERGE, ref="refs/heads/main")),
        (
            "workflow_run",
            {"workflow_run": {"head_sha": HEAD, "head_repository": {"full_name": "fork/repo"}}},
            at(HEAD, "fork/repo"),
        ),
    ],
)
def test_checkout(tmp_path: Path, name: str, payload: Any, expected: Checkout) -> None:
    """Each event pins the commit it is about, in the repository where that commit lies."""
    assert event(tmp_path, name, payload).checkout() == expected


def test_a_commented_pull_request_has_to_be_asked_for(tmp_path: Path) -> None:
    """A comment tells only the number; GitHub's answer gives the commit."""
    comment = event(tmp_path, "issue_comment", {"issue": {"number": 7, "pull_request": {"url": "x"}}})
    assert comment.pull_to_ask_for == comment.pull_number == 7
    with pytest.raises(ConfigError, match="head of the commented pull request"):
        comment.checkout()
    assert comment.checkout(Pull.read(PULL)) == at(HEAD, "fork/repo")


@pytest.mark.parametrize(
    ("name", "payload", "more"),
    [
        ("push", {}, {"GITHUB_SHA": ""}),
        ("push", {}, {"GITHUB_SHA": "0" * 40}),
        ("push", {}, {"GITHUB_SHA": "--upload-pack=x"}),
        ("push", {}, {"GITHUB_REPOSITORY": ""}),
        ("push", {}, {"GITHUB_SHA": MERGE + "\n"}),
        ("pull_request", {"pull_request": PULL | {"head": {"sha": "x"}}}, {}),
        (
            "pull_request",
            {"pull_request": PULL | {"head": {"sha": HEAD, "repo": {"full_name": "https://evil/a/b"}}}},
            {},
        ),
        ("pull_request", {}, {}),
        ("pull_request_target", {"pull_request": {"number": 3}}, {}),
        ("pull_request_review", {"pull_request": [PULL]}, {}),
        ("pull_request_review_comment", {"pull_request": None}, {}),
        ("issue_comment", {"issue": {"number": 3}}, {}),
        ("issue_comment", {"issue": {"number": 3, "pull_request": None}}, {}),
        ("issue_comment", {"issue": {"number": "3", "pull_request": {}}}, {}),
        ("issue_comment", {}, {}),
        ("commit_comment", {"comment": {"commit_id": HEAD}}, {}),
        ("discussion_comment", {"discussion": {"number": 3}}, {}),
        ("workflow_run", {"workflow_run": None}, {}),
        ("workflow_run", {"workflow_run": {"head_sha": HEAD, "head_repository": None}}, {}),
    ],
)
def test_unsupported(tmp_path: Path, name: str, payload: Any, more: dict[str, str]) -> None:
    """An event without a commit, or with something else in its place, is refused and named."""
    with pytest.raises(ConfigError) as refused:
        event(tmp_path, name, payload, **more).checkout()
    assert refused.value.type == "event_unsupported"
    assert f"`{name}`" in refused.value.details


def test_a_comment_elsewhere_than_on_a_pull_request_says_what_to_do(tmp_path: Path) -> None:
    """It would run on the default branch, which nobody has asked for; naming what to work on is asking."""
    comment = event(tmp_path, "issue_comment", {"issue": {"number": 3}})
    with pytest.raises(ConfigError, match="not on a pull request") as refused:
        comment.checkout()
    assert "`if: github.event.issue.pull_request`" in refused.value.hint
    assert comment.named_checkout(None, "main") == at("", ref="main")


OWN = {"repository": {"full_name": "Owner/Repo", "default_branch": "main"}}
MAIN_RUN = {
    "event": "push",
    "head_branch": "main",
    "head_sha": MERGE,
    "head_repository": {"full_name": "owner/repo"},
}


def after(**change: Any) -> dict[str, Any]:
    """The payload of a `workflow_run` after a run for the default branch, or after another one."""
    return OWN | {"workflow_run": MAIN_RUN | change}


@pytest.mark.parametrize(
    ("name", "payload", "more", "is_head"),
    [
        ("push", OWN, {}, True),
        ("workflow_dispatch", OWN, {}, True),
        ("repository_dispatch", OWN, {}, True),
        ("schedule", OWN, {}, True),
        ("schedule", {"schedule": "0 0 * * *"}, {}, True),
        ("issues", OWN | {"issue": {"number": 3}}, {}, True),
        ("workflow_run", after(), {}, True),
        ("workflow_run", after(event="schedule", head_repository={"full_name": "OWNER/repo"}), {}, True),
        ("push", OWN, {"GITHUB_REF": "refs/heads/topic"}, False),
        ("push", OWN, {"GITHUB_REF": "refs/heads/Main"}, False),
        ("push", OWN, {"GITHUB_REF": "refs/tags/main"}, False),
        ("push", OWN, {"GITHUB_REF": "main"}, False),
        ("push", OWN, {"GITHUB_REF": ""}, False),
        ("push", {}, {}, False),
        ("push", {"repository": {"full_name": "owner/repo"}}, {}, False),
        ("push", {"repository": {"full_name": "owner/repo", "default_branch": ""}},
         {"GITHUB_REF": "refs/heads/"}, False),
        ("push", {"repository": {"full_name": "owner/repo", "default_branch": ["main"]}}, {}, False),
        ("push", {"repository": {"default_branch": "main"}}, {}, False),
        ("push", {"repository": {"full_name": "fork/repo", "default_branch": "main"}}, {}, False),
        ("push", OWN, {"GITHUB_REPOSITORY": ""}, False),
        ("workflow_dispatch", OWN, {"GITHUB_REF": "refs/heads/topic"}, False),
        ("schedule", {}, {"GITHUB_REF": "refs/tags/v1"}, False),
        ("schedule", {"repository": {"full_name": "fork/repo", "default_branch": "main"}}, {}, False),
        ("schedule", OWN, {"GITHUB_REF": "refs/heads/topic"}, False),
        ("pull_request", OWN | {"pull_request": OWN_PULL}, {}, False),
        ("pull_request_target", OWN | {"pull_request": OWN_PULL}, {}, False),
        ("pull_request_target", OWN | {"pull_request": PULL}, {}, False),
        ("pull_request_review", OWN | {"pull_request": OWN_PULL}, {}, False),
        ("pull_request_review_comment", OWN | {"pull_request": OWN_PULL}, {}, False),
        ("issue_comment", OWN | {"issue": {"number": 7, "pull_request": {}}}, {}, False),
        ("issue_comment", OWN | {"issue": {"number": 7}}, {}, False),
        ("merge_group", OWN, {}, False),
        ("release", OWN, {"GITHUB_REF": "refs/tags/v1"}, False),
        ("check_run", OWN, {}, False),
        ("an_event_to_come", OWN, {}, False),
        ("", OWN, {}, False),
        ("workflow_run", after(event="pull_request"), {}, False),
        ("workflow_run", after(event="pull_request_target"), {}, False),
        ("workflow_run", after(event="issue_comment"), {}, False),
        ("workflow_run", after(event="workflow_run"), {}, False),
        ("workflow_run", after(event=None), {}, False),
        ("workflow_run", after(head_branch="topic"), {}, False),
        ("workflow_run", after(head_branch=None), {}, False),
        ("workflow_run", after(head_repository={"full_name": "fork/repo"}), {}, False),
        ("workflow_run", after(head_repository=None), {}, False),
        ("workflow_run", after(head_sha=HEAD), {}, False),
        ("workflow_run", after() | {"repository": None}, {}, False),
        ("workflow_run", OWN, {}, False),
    ],
)  # fmt: skip
def test_is_default_head(
    tmp_path: Path, name: str, payload: Any, more: dict[str, str], is_head: bool
) -> None:
    """Only what is surely of the workflow's own default branch: no fork's branch, no tag of its name."""
    assert event(tmp_path, name, payload, **more).is_default_head is is_head


@pytest.mark.parametrize(
    ("repository", "ref", "is_default"),
    [
        ("owner/repo", None, True),
        ("OWNER/Repo", None, True),
        (None, "main", True),
        ("owner/repo", "refs/heads/main", True),
        (None, "refs/tags/main", False),
        (None, "refs/heads/topic", False),
        (None, "Main", False),
        (None, HEAD, False),
        (None, MERGE, False),
        ("fork/repo", None, False),
        ("fork/repo", "main", False),
        ("https://github.com/owner/repo", None, False),
    ],
)
def test_names_default_branch(
    tmp_path: Path, repository: str | None, ref: str | None, is_default: bool
) -> None:
    """What the inputs name is the default branch only by its own name, whatever the event is about."""
    comment = event(tmp_path, "issue_comment", OWN | {"issue": {"number": 7, "pull_request": {}}})
    assert comment.names_default_branch(repository, ref) is is_default


def test_an_unknown_default_branch_is_not_named(tmp_path: Path) -> None:
    """Without a ref git takes the default branch by itself; a name says nothing where it is not known."""
    untold = event(tmp_path, "push")
    assert untold.names_default_branch("owner/repo", None)
    assert not untold.names_default_branch(None, "main")
    assert event(tmp_path, "push", OWN).names_default_branch(None, MERGE)
    assert not Event.from_env({}).names_default_branch("owner/repo", None)


def test_a_strange_ref_is_left_out(tmp_path: Path) -> None:
    """The commit counts; a ref that git would misunderstand is not handed on."""
    assert event(tmp_path, "push", GITHUB_REF="--upload-pack=x").checkout() == at(MERGE)


@pytest.mark.parametrize(
    "payload",
    [[], None, 1, {"pull_request": []}, {"pull_request": {"number": "7"}}, {"issue": 1}, {"action": {}}],
)
def test_payloads_of_other_shapes_are_tolerated(tmp_path: Path, payload: Any) -> None:
    """A payload that is not what was expected counts as empty."""
    strange = event(tmp_path, "push", payload)
    assert (strange.pull, strange.pull_number, strange.is_fork) == (None, None, False)
    assert strange.checkout().sha == MERGE


def test_an_absent_or_oversized_payload_is_empty(tmp_path: Path) -> None:
    """Neither breaks the step, nor fills its memory."""
    assert Event.from_env({}).payload == {}
    (tmp_path / "e").write_bytes(b"{" + b" " * PAYLOAD_BYTES + b"}")
    assert Event.from_env({"GITHUB_EVENT_PATH": str(tmp_path / "e")}).payload == {}
    (tmp_path / "e").write_text("[" * 100_000)
    assert Event.from_env({"GITHUB_EVENT_PATH": str(tmp_path / "e")}).payload == {}


@pytest.mark.parametrize(
    ("name", "payload", "is_fork"),
    [
        ("pull_request", {"pull_request": PULL}, True),
        ("pull_request", {"pull_request": OWN_PULL}, False),
        ("pull_request", {"pull_request": ORPHAN_PULL}, True),
        ("workflow_run", {"workflow_run": {"head_repository": {"full_name": "owner/repo"}}}, False),
        ("workflow_run", {"workflow_run": {"head_repository": None}}, True),
        ("push", {}, False),
        ("pull_request", {}, True),
        ("pull_request_target", {"pull_request": None}, True),
        ("workflow_run", {}, True),
    ],
)
def test_is_fork(tmp_path: Path, name: str, payload: Any, is_fork: bool) -> None:
    """What comes from another repository, from one that is gone, or is not told, is a fork's."""
    assert event(tmp_path, name, payload).is_fork is is_fork


def test_addresses_come_from_the_runner(tmp_path: Path) -> None:
    """A GitHub Enterprise server's addresses are used, and one that is none is refused."""
    there = event(
        tmp_path,
        "push",
        GITHUB_SERVER_URL="https://ghe.example/",
        GITHUB_API_URL="https://ghe.example/api/v3",
    )
    assert there.checkout().clone_url == "https://ghe.example/owner/repo.git"
    assert there.api_url == "https://ghe.example/api/v3"
    with pytest.raises(ConfigError, match="GITHUB_SERVER_URL"):
        event(tmp_path, "push", GITHUB_SERVER_URL="file:///etc")
    with pytest.raises(ConfigError, match="GITHUB_REPOSITORY"):
        event(tmp_path, "push", GITHUB_REPOSITORY="../x")


def test_named_checkout(tmp_path: Path) -> None:
    """The inputs name another repository, another ref, or both; a whole SHA is a pin."""
    here = event(tmp_path, "push")
    assert here.named_checkout("a/b", None) == at("", "a/b")
    assert here.named_checkout(None, "v1") == at("", ref="v1")
    assert here.named_checkout("a/b", HEAD) == at(HEAD, "a/b")
    url = "https://git.example/a/b.git"
    assert here.named_checkout(url, "main") == Checkout(url, url, ref="main")
    with pytest.raises(ConfigError):
        Event.from_env({}).named_checkout(None, "main")


def test_known_repositories(tmp_path: Path) -> None:
    """The payload tells whether the repositories it is about are private, and of no other."""
    fork = {"full_name": "fork/repo", "private": False, "default_branch": "trunk"}
    payload = {
        "repository": {"full_name": "owner/repo", "private": True, "default_branch": "main"},
        "pull_request": PULL | {"head": {"sha": HEAD, "repo": fork}},
    }
    found = event(tmp_path, "pull_request", payload)
    assert found.known_repository("Owner/repo") == Repository(private=True, default_branch="main")
    assert found.known_repository("fork/repo") == Repository(private=False, default_branch="trunk")
    assert found.known_repository("other/repo") is None
    unclear = {"repository": {"full_name": "owner/repo", "private": "no"}}
    assert event(tmp_path, "push", unclear).known_repository("owner/repo") is None


def test_identity(tmp_path: Path) -> None:
    """A step is told from every other one, also of the same matrix and of another attempt."""
    here = event(tmp_path, "push")
    assert here.identity("4") == ("owner/repo", "11", "2", "test", "__flaude", "4")
    assert Event.from_env({}).run_attempt == "1"


def test_pull_reads_what_the_api_answers() -> None:
    """The API's pull request and the payload's are read alike; anything else is none."""
    assert Pull.read(PULL) == Pull(7, Branch(HEAD, "fork/repo"), Branch(BASE, "owner/repo"))
    assert Pull.read({"message": "Not Found"}) is None
