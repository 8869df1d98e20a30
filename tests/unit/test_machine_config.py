"""What is sent where: the job with its secrets, the machine's configuration without any."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flaude_action import ConfigError, MachineConfig, RepoSpec
from flaude_action.repo_spec import Archive
from flaude_action.secret import SecretStr
from flaude_guest import job_document

NO_SHA = RepoSpec("u", sha="HEAD")
WHOLE = MachineConfig(
    image="i:1",
    prompt="p",
    claude_code_oauth_token=SecretStr("token-one"),
    repos=["https://example.com/o/first.git", RepoSpec("https://example.com/o/second", token="token-two")],
    region="ams",
    regions=("fra", "ams"),
    env={"A": SecretStr("token-three"), "B": "plain"},
)


def test_create_config_holds_no_secret_and_no_prompt() -> None:
    """What goes to Fly's API in exec mode has the nonce and times only."""
    env = WHOLE.guest_env("0" * 16, WHOLE.lifetime_s)
    body = json.dumps(WHOLE.create_config(env, {"managed_by": "flaude-action"}))
    assert set(env) == {"FLAUDE_NONCE", "FLAUDE_PROVISION_S", "FLAUDE_DEADLINE_S"}
    for text in ("token-one", "token-two", "token-three", "plain", '"p"'):
        assert text not in body
    config = json.loads(body)
    assert (config["auto_destroy"], config["restart"]) == (True, {"policy": "no"})
    assert config["stop_config"]["signal"] == "SIGTERM"


def test_job_holds_everything() -> None:
    """The job document has prompt, credentials, repositories with their tokens, and env."""
    job = WHOLE.job("0" * 16)
    assert job["credentials"] == {"anthropic_api_key": None, "claude_code_oauth_token": "token-one"}
    assert [(repo["directory"], repo["token"]) for repo in job["repositories"]] == [
        ("first", None),
        ("second", "token-two"),
    ]
    assert job["env"] == {"A": "token-three", "B": "plain"}
    assert job["masked_env"] == ["A"]


def test_foreign_env_speaks_flaudes_words() -> None:
    """A foreign image finds prompt, credential and repositories where flaude's entrypoint looks for them."""
    env = WHOLE.foreign_env()
    assert (env["FLAUDE_PROMPT"], env["CLAUDE_CODE_OAUTH_TOKEN"]) == ("p", "token-one")
    first, _ = json.loads(env["FLAUDE_REPOS"])
    assert first["url"] == "https://example.com/o/first.git"
    assert "token-two" not in json.dumps(env)


def test_an_archive_is_a_secret() -> None:
    """The link goes into the job only; it and the token in it are named as secrets."""
    link = SecretStr("https://codeload.example/x?token=hidden-token&v=1")
    repo = RepoSpec("https://example.com/o/n.git", sha="a" * 40, archive=Archive("b" * 40, link))
    config = MachineConfig(prompt="p", anthropic_api_key="key-one", repos=[repo])
    [document] = config.job("0" * 16)["repositories"]
    assert document["archive"] == {"url": link.get_secret_value(), "tree": "b" * 40}
    assert config.secrets() == ["key-one", link.get_secret_value(), "hidden-token"]
    elsewhere = json.dumps([config.foreign_env(), config.create_config(config.guest_env("0" * 16, 60.0), {})])
    assert "hidden-token" not in elsewhere + repr(config)
    assert Archive("b" * 40).secrets() == []


def test_regions_in_order_without_repeats() -> None:
    """`region` first, then `regions`; with neither Fly chooses."""
    assert WHOLE.wanted_regions == ("ams", "fra")
    assert MachineConfig().wanted_regions == (None,)


def test_secrets_lists_what_to_mask() -> None:
    """Every secret is named once; plain `env` values are not secrets."""
    assert WHOLE.secrets() == ["token-one", "token-two", "token-three"]


@pytest.mark.parametrize(
    ("config", "types"),
    [
        (MachineConfig(), ["prompt_missing", "secret_missing"]),
        (
            MachineConfig(prompt="p", anthropic_api_key="k", repos=[NO_SHA]),
            ["config_invalid"],
        ),
        (MachineConfig(prompt="p" * 300_000, anthropic_api_key="k"), ["config_invalid"]),
    ],
)
def test_check_finds_all_problems(config: MachineConfig, types: list[str]) -> None:
    """Everything that is wrong is told at once."""
    with pytest.raises(ConfigError) as raised:
        config.check()
    assert [problem.type for problem in raised.value.problems] == types


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://x-access-token:ghp_hidden@github.com/a/b.git", True),
        ("https://ghp_hidden@github.com/a/b.git", True),
        ("ssh://git:hidden@example.com/a/b", True),
        ("https://github.com/a/b.git", False),
        ("ssh://git@example.com/a/b", False),
        ("git@github.com:a/b.git", False),
        ("https://[half/a", False),
    ],
)
def test_a_url_with_a_secret_is_refused(url: str, refused: bool) -> None:
    """A credential belongs into `token`, for a URL is shown in logs; the refusal does not show it again."""
    assert RepoSpec(url).url_holds_a_secret is refused
    if refused:
        with pytest.raises(ConfigError) as raised:
            replace(WHOLE, repos=[url]).check()
        assert "hidden" not in f"{raised.value} {raised.value.as_json(debug=True)}"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"claude_args": ["--setting-sources", "user"]}, "claude_args: --setting-sources"),
        ({"claude_args": ["--mcp-config", "{}", "x.json"]}, "claude_args: --mcp-config"),
        ({"settings": ".claude/settings.json"}, "settings, which must be JSON,"),
        ({"settings": '{"env": {"CLAUDE_CODE_PLUGIN_DIRS": "x"}}'}, "settings"),
        ({"env": {"BUN_OPTIONS": SecretStr("--preload ./x")}}, "env: BUN_OPTIONS"),
    ],
    ids=str,
)
def test_the_repository_configures_nothing_unasked(change: dict[str, object], named: str) -> None:
    """What would let its files configure Claude Code is refused, unless project settings are wanted."""
    with pytest.raises(ConfigError) as refused:
        replace(WHOLE, **change).check()
    [problem] = refused.value.problems
    assert named in problem.message
    assert "./x" not in str(problem)
    wanted = replace(WHOLE, project_settings=True, **change)
    wanted.check()
    assert (WHOLE.job("")["agent"]["project_settings"], wanted.job("")["agent"]["project_settings"]) == (
        False,
        True,
    )


def test_check_accepts_a_whole_config() -> None:
    """A config with all it needs passes."""
    WHOLE.check()


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("https://github.com/acme/widget.git", "widget"),
        ("https://github.com/acme/.github.git", "_github"),
        ("https://github.com/acme/-x", "_x"),
        ("https://git.example/a/my%20repo.git/", "my-20repo"),
        ("https://git.example/a/" + "n" * 200, "n" * 100),
    ],
)
def test_every_repository_has_a_folder(url: str, directory: str) -> None:
    """A folder is named after its repository; what the machine would refuse in a name is replaced."""
    assert RepoSpec(url).document()["directory"] == directory
    repository = job_document._repository(job_document._Fields(RepoSpec(url).document(), "repositories"))
    assert repository.directory == directory


def test_two_repositories_in_one_folder() -> None:
    """Two repositories of one name are told before there is a machine."""
    repos = ["https://github.com/a/lib", "https://github.com/b/lib.git"]
    with pytest.raises(ConfigError) as refused:
        replace(WHOLE, repos=repos).check()
    assert "`lib`" in refused.value.message
    replace(WHOLE, repos=[repos[0], RepoSpec(repos[1], target_dir="lib-of-b")]).check()
