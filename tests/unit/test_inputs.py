"""Inputs from the runner's environment: what is read, and what is said of everything that is wrong."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.engines import ROOT

from flaude_action.catalog import CATALOG
from flaude_action.credential_forms import forms_of
from flaude_action.env_input import looks_secret
from flaude_action.errors import ConfigError
from flaude_action.inputs import Inputs, WorkspaceText, given_secrets
from flaude_action.machine_config import JOB_BYTES
from flaude_action.report import Report

if TYPE_CHECKING:
    from pathlib import Path

FLY, KEY, JOB_TOKEN = "FlyV1 fm2_lJPECAAAAAAAAAAA", "sk-ant-api03-0123456789", "ghs_0123456789abcdef"
GOOD = {
    "INPUT_PROMPT": "Fix the tests",
    "INPUT_ANTHROPIC_API_KEY": KEY,
    "INPUT_FLY_API_TOKEN": FLY,
    "INPUT_FLY_APP": "flaude-runs",
    "INPUT_GITHUB_TOKEN": JOB_TOKEN,
}


def env(workspace: Path | None = None, **inputs: str) -> dict[str, str]:
    """A runner's environment with everything that is needed, and these inputs."""
    given = GOOD | {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
    return given | ({"GITHUB_WORKSPACE": str(workspace)} if workspace else {})


def read(workspace: Path | None = None, **inputs: str) -> Inputs:
    return Inputs.from_env(env(workspace, **inputs))


def problems(workspace: Path | None = None, **inputs: str) -> list[ConfigError]:
    with pytest.raises(ConfigError) as refused:
        read(workspace, **inputs)
    return refused.value.problems


def problem(name: str, value: str, workspace: Path | None = None, **more: str) -> ConfigError:
    """The only problem there is when this input has this value."""
    found = problems(workspace, **{name: value}, **more)
    assert [each.meta["input"] for each in found] == [name]
    assert found[0].message.startswith(f"Input `{name}`: ")
    assert found[0].hint
    return found[0]


def test_defaults() -> None:
    """With only what is needed, everything else has action.yml's defaults."""
    inputs = read()
    assert inputs.task == "Fix the tests"
    assert (inputs.cpu_kind, inputs.cpus, inputs.memory_mb) == ("shared", 2, 4096)
    assert (inputs.timeout, inputs.idle_timeout) == (1800, 600)
    assert (inputs.image, inputs.base_image, inputs.dockerfile) == (None, None, None)
    assert inputs.raise_on_failure
    assert not inputs.show_full_output


def test_every_value_is_read() -> None:
    """Each notation gives its value; white space around a value does not count."""
    inputs = read(
        regions="fra, ams\niad",
        cpu_kind=" performance ",
        cpus="4",
        memory_mb="16384",
        image="registry.fly.io/app:tag@sha256:" + "a" * 64,
        repository="owner/na.me",
        ref="refs/heads/fix/it",
        extra_repositories="a/b\n\n c/d@v1.2 ",
        model="claude-opus-4-5[1m]",
        max_turns="7",
        max_budget_usd="2.50",
        claude_args="--fallback-model 'a b' # why\n--effort high",
        settings='{"a": 1}',
        allowed_tools="Edit, Bash(git log:*, git diff:*)\nRead",
        env="VERSION: 1.10\nON: yes\nEMPTY:\n",
        timeout="2h",
        idle_timeout="90s",
        raise_on_failure="False",
        show_full_output="TRUE",
        matrix_index="3",
        anthropic_base_url="http://127.0.0.1:8000/v1/",
    )
    assert inputs.regions == ("fra", "ams", "iad")
    assert (inputs.cpu_kind, inputs.cpus, inputs.memory_mb) == ("performance", 4, 16384)
    assert inputs.extra_repositories == (("a/b", ""), ("c/d", "v1.2"))
    assert (inputs.max_turns, inputs.max_budget_usd) == (7, 2.5)
    assert inputs.claude_args == ("--fallback-model", "a b", "--effort", "high")
    assert inputs.allowed_tools == ("Edit", "Bash(git log:*, git diff:*)", "Read")
    assert inputs.env == {"VERSION": "1.10", "ON": "yes", "EMPTY": ""}
    assert (inputs.timeout, inputs.idle_timeout) == (7200, 90)
    assert (inputs.raise_on_failure, inputs.show_full_output) == (False, True)
    assert inputs.anthropic_base_url == "http://127.0.0.1:8000/v1"
    assert (inputs.model, inputs.matrix_index) == ("claude-opus-4-5[1m]", "3")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("timeout", "30", "Write 90s, 45m or 2h."),
        ("timeout", "1.5h", "90s"),
        ("timeout", "25h", "2h"),
        ("idle_timeout", "0s", "90s"),
        ("cpus", "3", "1, 2, 4, 8"),
        ("cpus", "two", "1"),
        ("memory_mb", "4000", "Write 3840 or 4096."),
        ("memory_mb", "8192", "Write 4096."),
        ("cpu_kind", "gpu", "`shared` or `performance`"),
        ("regions", "fra londn", "Fly has: ams"),
        ("regions", "London", "Did you mean lhr?"),
        ("regions", "fro", "Did you mean fra"),
        ("fly_app", "My App", "lower-case"),
        ("fly_app", "-x", "lower-case"),
        ("image", "docker://a/b", "without a scheme"),
        ("image", "a b", "host/name:tag"),
        ("repository", "owner", "owner/name"),
        ("repository", "owner/..", "owner/name"),
        ("repository", "git@github.com:a/b", "owner/name"),
        ("repository", "https://github.com", "https://host/owner/name.git"),
        ("ref", "-oProxyCommand=x", "a branch"),
        ("ref", "a..b", "a branch"),
        ("ref", "a b", "a branch"),
        ("ref", "a.lock", "a branch"),
        ("ref", "x" * 256, "a branch"),
        ("extra_repositories", "a/b@", "owner/name@ref"),
        ("extra_repositories", "a/b@-x", "a branch"),
        ("extra_repositories", "https://x/a/b", "owner/name@ref"),
        ("model", "--help", "alias"),
        ("max_turns", "0", "1"),
        ("max_turns", "-1", "1"),
        ("max_budget_usd", "$5", "2.50"),
        ("max_budget_usd", "0", "2.50"),
        ("claude_args", "--x 'open", "Close every quote."),
        ("allowed_tools", "Bash(git", "Edit, Bash(git log:*)"),
        ("allowed_tools", "Bash)", "Edit, Bash(git log:*)"),
        ("allowed_tools", "--danger", "Edit, Bash(git log:*)"),
        ("settings", '{"a": }', "JSON"),
        ("json_schema", "{" + '"a":{' * 100_000, "JSON"),
        ("raise_on_failure", "yes", "`true` or `false`"),
        ("env", "a: [b", "NAME: value"),
        ("env", "- a", "NAME: value"),
        ("env", "A: {b: c}", "plain text"),
        ("env", "A: 1\nB: 2\nA: 3", "one of them"),
        ("env", '"A\\n": b', "letters"),
        ("env", 'A: "\\ud800"', "plain text"),
        ("env", 'A: "\\0"', "plain text"),
        ("setup", "echo caf\udce9", "UTF-8"),
        ("settings", "[]", "{"),
        ("env", "1A: b", "letters"),
        ("env", "Path: b", "another name"),
        ("env", "LD_PRELOAD: b", "another name"),
        ("env", "ANTHROPIC_API_KEY: b", "another name"),
        ("env", "FLAUDE_NONCE: b", "another name"),
        ("env", "A: " + "b" * 70_000, "files"),
        ("anthropic_base_url", "ftp://x", "https://host/path"),
        ("anthropic_base_url", "https://user:pass@x", "without user"),
        ("anthropic_base_url", "https://x:port", "https://host/path"),
        ("github_token", "a\nb", "one line"),
        ("fly_api_token", "${{ secrets.FLY }}", "secrets.NAME"),
        ("anthropic_api_key", "sk-ant-oat01-abc", "claude_code_oauth_token"),
    ],
)
def test_wrong_values_are_told(name: str, value: str, hint: str) -> None:
    """A wrong value is one problem, named, with what to type instead."""
    found = problem(name, value)
    assert found.type == "config_invalid"
    assert hint in found.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--plugin-url https://a.example/x#y --z", ["--plugin-url", "https://a.example/x#y", "--z"]),
        ("--a '# b' \"c # d\" e\\ #f # g 'h\n--i", ["--a", "# b", "c # d", "e #f", "--i"]),
        ("# don't\n--a\r\n# b", ["--a"]),
    ],
)
def test_comments_in_claude_args(text: str, expected: list[str]) -> None:
    """As in a shell, `#` starts a comment only where a word could start."""
    assert read(claude_args=text).claude_args == tuple(expected)


def test_line_ends_and_indents() -> None:
    """Text that came through a form ends its lines with CR LF; a shell would take the CR for a word's end.

    The indent of the first line belongs to the notation of `env`.
    """
    inputs = read(setup="npm ci\r\nmake\r\n", env="\r\n  A: b\r\n  C: d\r\n")
    assert inputs.setup == "npm ci\nmake"
    assert inputs.env == {"A": "b", "C": "d"}


def test_owners_of_a_managed_organisation() -> None:
    """Their logins end in an underscore and the organisation's short code."""
    assert read(repository="jane_acme/widget").repository == "jane_acme/widget"


@pytest.mark.parametrize(
    ("cpu_kind", "cpus", "memory_mb"),
    [("shared", 1, 256), ("shared", 8, 16384), ("performance", 1, 2048), ("performance", 16, 131072)],
)
def test_the_ends_of_fly_s_sizes_are_allowed(cpu_kind: str, cpus: int, memory_mb: int) -> None:
    """The smallest and the largest machine of each kind pass."""
    inputs = read(cpu_kind=cpu_kind, cpus=str(cpus), memory_mb=str(memory_mb))
    assert (inputs.cpus, inputs.memory_mb) == (cpus, memory_mb)


def test_all_problems_are_told_at_once() -> None:
    """All problems are found in one pass, in action.yml's order, none about a value that was not read."""
    with pytest.raises(ConfigError) as refused:
        Inputs.from_env(
            {"INPUT_TIMEOUT": "30", "INPUT_CPUS": "x", "INPUT_ENV": "]", "INPUT_MEMORY_MB": "1000"}
        )
    found = [(each.meta["input"], each.type) for each in refused.value.problems]
    assert found == [
        ("prompt", "prompt_missing"),
        ("anthropic_api_key", "secret_missing"),
        ("fly_api_token", "secret_missing"),
        ("fly_app", "config_invalid"),
        ("cpus", "config_invalid"),
        ("env", "config_invalid"),
        ("timeout", "config_invalid"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("regions", "fra xyz london", ["`xyz`", "`london`"]),
        ("extra_repositories", "a/b\nc\nhttps://x/a/b\nd/e@..\nf/g@", ["`c`", "`https:", "`..`", "`f/g@`"]),
        ("allowed_tools", "Edit, --danger, Read\n-x", ["`--danger`", "`-x`"]),
        ("claude_args", "task -p --resume=x -- --json-schema {}",
         ["`task`", "`-p`", "`--resume`", "`--`", "`json_schema`"]),
        ("env", "1A: b\nPATH: c\nA: {b: c}\nB: 1\nB: 2\n2B: [1]",
         ["`B` is given twice", "`1A`", "`PATH`", "of `A`", "`2B` is not", "of `2B`"]),
    ],
)  # fmt: skip
def test_all_problems_of_one_input(name: str, value: str, named: list[str]) -> None:
    """One input that is wrong in several places has one error for each."""
    found = problems(**{name: value})
    assert [each.meta["input"] for each in found] == [name] * len(named)
    for each, words in zip(found, named, strict=True):
        assert words in each.message
        assert each.hint


@pytest.mark.parametrize(
    ("size", "text", "hint"),
    [
        ({}, "4GB", "Write a multiple of 256 from 512 to 4096: 2 shared CPUs can have that."),
        ({}, "1", "Write 512."),
        ({}, "99999999999", "Write a multiple of 256 from 512 to 4096: 2 shared CPUs can have that."),
        ({"cpu_kind": "performance", "cpus": "1"}, "lots",
         "Write a multiple of 2048 from 2048 to 8192: 1 performance CPU can have that."),
        ({"cpu_kind": "performance", "cpus": "1"}, "1", "Write 2048."),
    ],
)  # fmt: skip
def test_memory_that_fits(size: dict[str, str], text: str, hint: str) -> None:
    """What is to be written instead fits the machine's CPUs."""
    assert problem("memory_mb", text, **size).hint == hint


def test_memory_of_cpus_that_are_wrong() -> None:
    """Where the CPUs are wrong too, no size is named: it would be for others."""
    cpus, memory = problems(cpus="3", memory_mb="4GB")
    assert (cpus.meta["input"], memory.hint) == ("cpus", "Write the number of MB, in digits alone.")


@pytest.mark.parametrize("prompt", ["", "  \n "])
def test_a_prompt_is_needed(prompt: str) -> None:
    """An empty prompt is no prompt."""
    assert problem("prompt", prompt).type == "prompt_missing"


def test_values_in_messages_are_harmless() -> None:
    """What an input holds is cut, loses its line ends and control characters, and cannot leave its quotes."""
    text = problem("model", "x`\r\n::error::\x1b[31m" + "y" * 500).message
    assert "\n" not in text
    assert "\r" not in text
    assert "\x1b" not in text
    assert text.count("`") == 4
    assert len(text) < 150


@pytest.mark.parametrize("name", ["anthropic_api_key", "fly_api_token", "clone_token", "github_token"])
def test_secrets_are_in_no_message(name: str) -> None:
    """A refused token is not shown, and no field shows an accepted one."""
    (found,) = problems(**{name: "hunter2-é-hunter2"})
    assert "hunter2" not in f"{found} {found.hint} {found.as_json(debug=True)}"
    inputs = read(clone_token="github_pat_0123456789")
    assert not any(secret in f"{inputs!r} {inputs}" for secret in inputs.secrets())


def test_secrets_are_listed_for_masking() -> None:
    """All credentials are masked, and of `env` what looks like one; before the checks, what came."""
    inputs = read(env="A_TOKEN: abcd\nNAME: production\nDSN: x1\nX: a8f-19b-77c\nURL: https://a.example/b")
    forms = [form for name, text in (("anthropic_api_key", KEY), ("github_token", JOB_TOKEN),
                                     ("fly_api_token", FLY)) for form in forms_of(name, text)]  # fmt: skip
    assert inputs.secrets() == [*forms, "abcd", "a8f-19b-77c"]
    assert given_secrets(env(timeout="x")) == forms
    assert {KEY, FLY, JOB_TOKEN} < set(forms)


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [("API_KEY", "abcd", True), ("API_KEY", "abc", False), ("X", "1234567890", False),
     ("X", "ab12cd34", True), ("X", "Some words here.", False), ("X", "2026-11-21", False),
     ("X", "p4ss", False), ("X", "Größe äußerst", False), ("AUTH_ENABLED", "false", False),
     ("MAX_THINKING_TOKENS", "31999", False), ("A_KEY", "12345678", True), ("AUTHORIZATION", "abcd", True),
     ("GIT_AUTHOR_NAME", "Jane", False)],
)  # fmt: skip
def test_looks_secret(name: str, value: str, masked: bool) -> None:
    """A value is masked by its name, or by looking like neither words nor a number.

    A short number or a truth value is not: masked, it would be taken out of everything the step says.
    """
    assert looks_secret(name, value) is masked


def proof(**env: str) -> Report:
    inputs = read(env=json.dumps(env))
    report = Report({}, io.StringIO())
    report.mask(inputs.secrets(), doubtful=inputs.doubtful())
    return report


def test_lines_of_a_credential_are_no_proof() -> None:
    """A kubeconfig is proof whole, in one of its forms, and by its token; its lines stand in many a file."""
    text = "apiVersion: v1\nkind: Config\nuser:\n  token: hunter2hunter2\n"
    report = proof(KUBE_CREDENTIALS=text)
    assert report.holds_secret(f"x\n{text}y")
    assert report.holds_secret(base64.b64encode(text.encode()).decode())
    assert report.holds_secret("export TOKEN=hunter2hunter2")
    assert not report.holds_secret("apiVersion: v1\nkind: Config\nuser:\n")
    assert "v1" not in report.redact("apiVersion: v1")  # hidden all the same


def test_a_credential_of_several_lines_proves_by_its_whole() -> None:
    """Also when somebody has joined its lines, or encoded the file; what is public of it does not."""
    head = "-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n"
    key = f"{head}bm9uZQ\n-----END OPENSSH PRIVATE KEY-----\n"
    report = proof(DEPLOY_KEY=key)
    for stands in (key, " ".join(key.split()), base64.b64encode(key.encode()).decode()):
        assert report.holds_secret(f"x {stands} y")
    assert not report.holds_secret(head)


@pytest.mark.parametrize("name", ["settings", "json_schema"])
@pytest.mark.parametrize("number", ["NaN", "-Infinity"])
def test_numbers_that_json_does_not_have(name: str, number: str) -> None:
    """Python's reader takes them, Claude Code's does not."""
    assert problem(name, f'{{"a": {number}}}').message.endswith("It is not JSON a program can read.")


def test_credentials_in_other_inputs_are_proof() -> None:
    """What they hold besides is none."""
    token = "npm_" + "a1B2c3D4e5F6" * 3
    settings = json.dumps({"env": {"NPM_TOKEN": token, "EDITOR": "vim-9.1-huge"}})
    given = read(settings=settings, setup="export REGISTRY_PASSWORD=hunter2hunter2")
    report = Report({}, io.StringIO())
    report.mask(given.secrets(), doubtful=given.doubtful())
    assert report.holds_secret(f"//registry/:_authToken={token}")
    assert report.holds_secret("hunter2hunter2")
    assert not report.holds_secret("vim-9.1-huge")


def test_a_credential_under_a_second_name_stays_one() -> None:
    """That a setting, too, has the value of a credential makes it no setting."""
    report = proof(DEPLOY_TOKEN="hunter2hunter2", A_MODEL="hunter2hunter2")
    assert report.holds_secret("hunter2hunter2")
    assert not proof(A_MODEL="hunter2hunter2").holds_secret("hunter2hunter2")


def test_a_long_value_is_looked_at_once() -> None:
    """A value as long as `env` may be does not hold the step up."""
    began = time.process_time()
    assert not looks_secret("X", "=" * 60_000 + "1")
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ["anthropic_api_key", "claude_code_oauth_token", "clone_token"])
@pytest.mark.parametrize("same", [JOB_TOKEN, FLY])
def test_a_token_of_the_runner_s_is_no_credential_of_the_machine_s(name: str, same: str) -> None:
    """Tokens put into the wrong input are found before they go to the machine."""
    more = {"anthropic_api_key": ""} if name == "claude_code_oauth_token" else {}
    found = problem(name, same, **more)
    assert "never goes to a machine" in found.message
    assert same not in str(found)


def test_prompt_file_is_read(tmp_path: Path) -> None:
    """The prompt may come from a file of the workspace."""
    (tmp_path / "task.md").write_text("Do it\n")
    inputs = read(tmp_path, prompt="", prompt_file="task.md")
    assert inputs.prompt_file == WorkspaceText("task.md", "Do it\n")
    assert inputs.task == "Do it\n"


@pytest.mark.parametrize("name", ["prompt_file", "settings", "json_schema"])
def test_the_job_s_token_in_a_file_is_found(tmp_path: Path, name: str) -> None:
    """What is named as a file goes to the machine as its text, and that is what is looked at."""
    (tmp_path / "x.json").write_text(f'{{"token": "{JOB_TOKEN}"}}')
    more = {"prompt": ""} if name == "prompt_file" else {}
    assert "`github_token`" in problem(name, "x.json", tmp_path, **more).message


def test_one_prompt_only(tmp_path: Path) -> None:
    """`prompt` and `prompt_file` together are refused; an empty file is no prompt."""
    (tmp_path / "task.md").write_text("\n")
    assert [each.type for each in problems(tmp_path, prompt_file="task.md")] == ["config_invalid"]
    assert [each.type for each in problems(tmp_path, prompt="", prompt_file="task.md")] == ["prompt_missing"]


def test_a_missing_file_is_one_problem(tmp_path: Path) -> None:
    """A file that cannot be read is not told as a missing prompt as well."""
    (found,) = problems(tmp_path, prompt="", prompt_file="no.md")
    assert found.message == "Input `prompt_file`: `no.md` does not exist in the workspace."
    assert "actions/checkout" in found.hint


@pytest.mark.parametrize("name", ["prompt_file", "settings", "json_schema"])
def test_a_file_that_no_job_has_room_for(tmp_path: Path, name: str) -> None:
    """The limit that is told is the one that holds: a job may have 256 KiB, all of it together."""
    (tmp_path / "x").write_text("a" * (JOB_BYTES + 1))
    more = {"prompt": ""} if name == "prompt_file" else {}
    found = problem(name, "x", tmp_path, **more)
    assert found.message == f"Input `{name}`: `x` has 262145 bytes, 262144 are allowed."
    assert "named in the prompt" in found.hint


def test_a_prompt_beside_a_missing_file(tmp_path: Path) -> None:
    """Both are told: that two prompts are given, and that one of them cannot be read."""
    told = [each.message for each in problems(tmp_path, prompt_file="no.md")]
    assert sorted(told) == [
        "Input `prompt_file`: `no.md` does not exist in the workspace.",
        "Input `prompt_file`: `prompt` is given too.",
    ]
    assert len(problems(tmp_path, image="a/b", dockerfile="no")) == 2


def test_an_empty_file_is_told_as_that(tmp_path: Path) -> None:
    """What usually makes a prompt empty speaks of the file too."""
    (tmp_path / "task.md").write_text("\n")
    (found,) = problems(tmp_path, prompt="", prompt_file="task.md")
    assert found.message == "Input `prompt_file`: The file is empty."
    assert "file" in CATALOG["prompt_missing"].usual


@pytest.mark.parametrize("name", ["settings", "json_schema"])
@pytest.mark.parametrize("text", ["[]", "null", "true", "5", '"x.json"'])
def test_json_that_is_no_object(tmp_path: Path, name: str, text: str) -> None:
    """JSON of another kind is not taken for a file's name."""
    assert problem(name, text, tmp_path).message == f"Input `{name}`: It is JSON but not an object."


@pytest.mark.parametrize("name", ["settings", "json_schema"])
def test_json_may_be_a_file(tmp_path: Path, name: str) -> None:
    """JSON is given as text or as a file's name; either way the field holds JSON text."""
    (tmp_path / "x.json").write_text('{"type": "object"}')
    (tmp_path / "bad.json").write_text("[1]")
    assert getattr(read(tmp_path, **{name: "x.json"}), name) == '{"type": "object"}'
    (found,) = problems(tmp_path, **{name: "bad.json"})
    assert "not an object" in found.message


@pytest.mark.parametrize(
    "args", ["-p x", "--output-format=json", "--resume", "-c", "--session-id y", "--model=a -- b", "-pr",
             "task", "--json-schema {}", "-w", "--bg"],
)  # fmt: skip
def test_flags_of_ours_are_refused(args: str) -> None:
    """Flags that decide how the run is started, read and named are not the workflow's."""
    assert problem("claude_args", args).type == "config_invalid"


@pytest.mark.parametrize(
    "args",
    ["--setting-sources=user", "--setting-sources user,project", "--strict-mcp-config", "--bare",
     "--safe-mode", "--restricted", "--model --setting-sources=project"],
)  # fmt: skip
@pytest.mark.parametrize("wanted", ["auto", "never", "always"])
def test_flags_that_say_what_is_loaded(args: str, wanted: str) -> None:
    """Whether the repository configures Claude Code is one input's to say."""
    found = problem("claude_args", args, project_settings=wanted)
    assert found.hint == "Use `project_settings:` instead."


NAMES_A_FILE = [
    ("claude_args", "--settings .claude/settings.json", "`--settings`"),
    ("claude_args", "--settings=x.json", "`--settings`"),
    ("claude_args", "--settings='[1]'", "`--settings`"),
    ("claude_args", "--settings='{\"a\": NaN}'", "`--settings`"),
    ("claude_args", """--settings='{"env": {"CLAUDE_CODE_PLUGIN_DIRS": "x"}}'""", "`--settings`"),
    ("claude_args", "--settings", "`--settings`"),
    ("claude_args", "--mcp-config .mcp.json", "`--mcp-config`"),
    ("claude_args", "--mcp-config '{}' .mcp.json --verbose", "`--mcp-config`"),
    ("claude_args", "--mcp-config=.mcp.json", "`--mcp-config`"),
    ("claude_args", "--mcp-config https://a.example/x", "`--mcp-config`"),  # a folder named `https:`
    ("claude_args", "--agents agents.json", "`--agents`"),
    ("claude_args", "--plugin-dir plugins", "`--plugin-dir`"),
    ("claude_args", "--plugin-dir-no-mcp=plugins", "`--plugin-dir-no-mcp`"),
    ("claude_args", "--project-config-root /workspace/widget", "`--project-config-root`"),
    ("claude_args", "--append-system-prompt-file CLAUDE.md", "`--append-system-prompt-file`"),
    ("claude_args", "--system-prompt-file CLAUDE.md", "`--system-prompt-file`"),
    ("claude_args", "--append-subagent-system-prompt-file a", "`--append-subagent-system-prompt-file`"),
    ("claude_args", "--mcp-config '{}' - --verbose", "`--mcp-config`"),
    ("claude_args", """--agents '{"a": {"memory": "local"}}'""", "`--agents`"),
    ("settings", '{"env": {"CLAUDE_CODE_SHELL_PREFIX": "./x"}}', "`env.CLAUDE_CODE_SHELL_PREFIX`"),
    ("settings", '{"autoMemoryDirectory": "~/x"}', "`autoMemoryDirectory`"),
    ("settings", '{"extraKnownMarketplaces": {"m": {"source": {"source": "directory"}}}}', "`extraKnown"),
    ("settings", '{"extraKnownMarketplaces": {"m": {"source": {"source": "git", "url": "./x"}}}}', "`extra"),
    ("settings", '{"extraKnownMarketplaces": ["m"]}', "`extraKnownMarketplaces`"),
    ("env", "CLAUDE_CODE_PLUGIN_CACHE_DIR: x", "`CLAUDE_CODE_PLUGIN_CACHE_DIR`"),
    ("env", "ANTHROPIC_CONFIG_DIR: x", "`ANTHROPIC_CONFIG_DIR`"),
    ("env", "CLAUDE_CONFIG_DIR: .claude", "`CLAUDE_CONFIG_DIR`"),
    ("env", "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD: 1", "_DIRECTORIES_CLAUDE_MD`"),
    ("env", "CLAUDE_CODE_PLUGIN_DIRS: x", "`CLAUDE_CODE_PLUGIN_DIRS`"),
    ("env", "BUN_OPTIONS: --preload ./x.js", "`BUN_OPTIONS`"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "named"), NAMES_A_FILE)
def test_files_of_the_repository_configure_nothing_unasked(name: str, text: str, named: str) -> None:
    """What names a file or folder for Claude Code to load is refused, unless all may be loaded anyway."""
    for wanted in ("", "auto", "never"):
        found = problem(name, text, project_settings=wanted)
        assert named in found.message
        assert "`project_settings: always`" in found.hint
    assert read(**{name: text}, project_settings="always")


@pytest.mark.parametrize(
    "args",
    ["""--settings '{"hooks": {}}' --effort high""", """--settings='{"env": {"A": "b"}}'""",
     """--mcp-config '{"mcpServers": {}}' '{"mcpServers": {}}' --verbose""", """--agents='{"a": {}}'""",
     """--mcp-config '{"mcpServers": {"memory": {"command": "npx"}}}'""",
     """--agents='{"readFile": {"memory": "user"}}'""",
     """--settings '{"extraKnownMarketplaces": {"m": {"source": {"source": "github", "repo": "a/b"}}}}'""",
     """--settings '{"extraKnownMarketplaces": {"m": {"source": {"source": "git", "url": "git@a.b:c"}}}}'""",
     "--add-dir ../lib"],
)  # fmt: skip
def test_the_workflow_s_own_words_count(args: str) -> None:
    """JSON in the workflow is its author's own word, and one more folder to work in configures nothing."""
    assert read(claude_args=args).claude_args


@pytest.mark.parametrize(
    "name", ["CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "CLAUDE_CODE_DISABLE_FILE_MENTIONS"]
)
def test_variables_that_guard_the_credential_are_ours(name: str) -> None:
    """They are set for every run, and so they are refused with the others that are."""
    assert "reserved" in problem("env", f"{name}: '0'", project_settings="always").message


@pytest.mark.parametrize(
    "name", ["CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR", "CLAUDE_CODE_FILE_READ_MAX_OUTPUT_TOKENS"]
)
def test_variables_that_only_sound_like_a_place(name: str) -> None:
    """They say how, not where."""
    assert name in read(env=f"{name}: '1'").env


def test_project_settings() -> None:
    """One of three words, and nothing is said of other inputs that rests on a wrong one."""
    assert [read(project_settings=word).project_settings for word in ("", "never", "always")] == [
        "auto", "never", "always",
    ]  # fmt: skip
    (found,) = problems(project_settings="yes", claude_args="--plugin-dir x")
    assert found.hint == "Write `auto` or `never` or `always`."


def test_a_flag_is_not_given_twice() -> None:
    """A flag that is an input too may stand in `claude_args`, but not in both."""
    assert read(claude_args="--model opus").claude_args == ("--model", "opus")
    assert "input `model`" in problem("claude_args", "--model opus", model="sonnet").message


def test_one_model_credential() -> None:
    """Two credentials for the model are refused, because nobody knows which would be billed."""
    assert problem("claude_code_oauth_token", "sk-ant-oat01-abcdef").type == "config_invalid"
    assert read(anthropic_api_key="", claude_code_oauth_token="sk-ant-oat01-abcdef").anthropic_api_key is None


def test_the_job_s_token_never_goes_to_a_machine() -> None:
    """It is refused as `clone_token`, and in every text that reaches the agent."""
    assert "never goes to a machine" in problem("clone_token", JOB_TOKEN).message
    for name in ("setup", "prompt", "append_system_prompt", "claude_args"):
        found = problem(name, f"--x curl {JOB_TOKEN}")
        assert "`github_token`" in found.message
        assert JOB_TOKEN not in str(found)
    assert "`fly_api_token`" in problem("env", f"A: {FLY}").message


def test_act_s_post_has_no_defaults() -> None:
    """Inputs that do not arrive at all have their defaults."""
    assert Inputs.from_env(GOOD) == Inputs.from_env(GOOD | {"INPUT_TIMEOUT": "30m", "INPUT_CPUS": ""})


@pytest.mark.parametrize("value", ["", "${{ strategy.job-index }}", "abc"])
def test_an_unknown_job_index_is_zero(value: str) -> None:
    """Where a runner does not fill in the hidden input, the job counts as the first."""
    assert read(matrix_index=value).matrix_index == "0"


def test_a_missing_prompt_costs_no_imports() -> None:
    """Telling that the prompt is missing needs neither YAML nor Docker nor HTTP nor pydantic."""
    code = (
        "import sys\nfrom flaude_action.inputs import Inputs\n"
        "try: Inputs.from_env({})\nexcept Exception as error: print(error.type)\n"
        "print(sorted({'yaml', 'docker', 'httpx', 'pydantic', 'asyncio'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True
    )
    assert run.stdout == "prompt_missing\n[]\n"
