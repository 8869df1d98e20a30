"""Every failure type: its phase, who can fix it, what it says and what to do about it.

Wording only. Which evidence leads to which type is decided in `verdict` and, for the agent, in
`flaude_guest.judgement`; the exceptions that carry a type are in `errors`. Type ids are stable: workflows
compare them, so one is never renamed, only added. docs/failures.md is made from this file: `make docs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flaude_action import REPOSITORY_URL, __version__

Phase = Literal[
    "config", "auth", "image", "create", "boot", "clone", "setup", "agent", "model_api", "context", "limit",
    "timeout", "cancelled", "machine", "logs", "collect", "cleanup", "any",
]  # fmt: skip
Retryable = Literal["no", "runner", "user", "later"]
"""Whose turn it is: nobody's, ours (run again as it is), the user's (change something), or time's."""


@dataclass(frozen=True)
class Kind:
    """One failure type. `title` heads the annotation; `message` is one sentence for anyone to read, `usual`
    what is behind it as a rule. In a hint, `<app>` stands for the Fly app's name."""

    type: str
    phase: Phase
    retryable: Retryable
    title: str
    message: str
    hint: str
    usual: str = ""

    def advice(self, hint: str, retryable: str) -> str:
        """The hint, headed by whose turn it is."""
        return f"{'Your turn' if retryable == 'user' else 'What to do'}: {hint or self.hint}"

    @property
    def url(self) -> str:
        """Where this release's documentation explains the type."""
        return f"{REPOSITORY_URL}/blob/v{__version__}/docs/failures.md#{self.type}"


def _table(
    *rows: tuple[str, Phase, Retryable, str, str, str] | tuple[str, Phase, Retryable, str, str, str, str],
) -> dict[str, Kind]:
    return {row[0]: Kind(*row) for row in rows}


_REPORT = f"Report it with this reference: {REPOSITORY_URL}/issues"

CATALOG: dict[str, Kind] = _table(
    # Before money is spent.
    ("config_invalid", "config", "user", "An input is not valid",
     "An input of this step is not valid.", "Correct the input in the step's `with:`."),
    ("prompt_missing", "config", "user", "There is no prompt",
     "There is nothing for Claude Code to do: no prompt was given.",
     "Set `prompt:` (or `prompt_file:`, a file in the workspace) in the step's `with:`.",
     "An expression such as `${{ github.event.comment.body }}` is empty for this event, or the file is."),
    ("secret_missing", "config", "user", "A token is missing",
     "A token this step needs is empty.",
     "Store it as a secret (Settings > Secrets and variables) and pass `${{ secrets.NAME }}` in `with:`.",
     "The secret's name is misspelt, or the pull request comes from a fork: those get no secrets."),
    ("event_unsupported", "config", "user", "No commit to work on",
     "The event that started this workflow does not say which commit to work on.",
     "Set `repository:` and `ref:` yourself, or start from a pull request, a push or a dispatch."),
    ("app_not_found", "create", "user", "The Fly app does not exist",
     "Fly knows no app of this name that the token may use.",
     "Create it once with `fly apps create <app> --network <app>`, or correct `fly_app:`.",
     "A misspelt name, or a token of another organisation."),
    # Fly.
    ("machine_auth_failed", "auth", "user", "Fly refused the token",
     "Fly refused the token for this app.",
     "Make a new one with `fly tokens create deploy -a <app> --expiry 720h` and store it as the secret.",
     "The token has expired, was revoked, or belongs to another app."),
    ("machine_create_rejected", "create", "user", "Fly will not make such a machine",
     "Fly rejected the machine's configuration.",
     "Compare `cpu_kind`, `cpus`, `memory_mb`, `regions` and `image` with Fly's own words.",
     "A size Fly does not sell, a region it has closed, or an image it cannot read."),
    ("machine_quota_exceeded", "create", "later", "The Fly quota is used up",
     "The Fly organisation's quota for machines, memory or requests is used up.",
     "Wait for other machines to end (`fly machines list -a <app>`), or ask Fly for a higher limit.",
     "Too many machines run at once."),
    ("machine_capacity", "create", "runner", "Fly has no room for the machine",
     "Fly has no room for this machine in the chosen regions.",
     "Run again, name more `regions:`, or ask for a smaller machine."),
    ("machine_api_unavailable", "create", "runner", "Fly's API is not answering",
     "Fly's Machines API failed or could not be reached, also after retries.",
     "Look at https://status.flyio.net; when it is green again, run the job again.",
     "A disturbance at Fly, or a runner that may not reach the internet."),
    ("machine_boot_timeout", "boot", "runner", "The machine did not start in time",
     "The machine was created but did not start in time.",
     "Run again; if it repeats, use a smaller image or name another region in `regions:`.",
     "The host was slow to fetch the image."),
    ("machine_exec_refused", "boot", "user", "Fly refused to run a command on the machine",
     "Fly refused the exec call, so nothing was sent to the machine and it was destroyed.",
     "Make a token that may exec with `fly tokens create deploy -a <app>` and store it as the secret.",
     "The token is of a kind that may create machines but not reach into them."),
    ("boot_marker_missing", "boot", "runner", "The machine's supervisor did not answer",
     "The machine started but our supervisor on it never answered.",
     "Run again; if it repeats, check that `image:` was built from this action's machine image."),
    ("entrypoint_crashed", "boot", "user", "The machine's main program could not be started",
     "The machine's main process could not be started, so no work was done.",
     "Check that the image is for linux/amd64 and that its entrypoint exists and is executable.",
     "An image for another processor, or one that replaces our entrypoint."),
    ("environment_unusable", "boot", "user", "Claude Code cannot run on this machine",
     "The machine's own checks failed: a folder is not writable, the disk is full, or `claude` cannot run.",
     "Correct the image by what the failed check says.",
     "An image with a changed /tmp or home folder, or without the libraries that Claude Code needs."),
    ("protocol_mismatch", "boot", "user", "Action and machine image do not fit together",
     "The supervisor in the machine's image speaks another protocol version than this action.",
     "Use the machine image of the same release as the action, or leave `image:` out.",
     "`image:` is pinned to an older release than `uses:`."),
    ("image_not_found", "image", "user", "The image does not exist",
     "The image was not found in its registry.",
     "Check the name, tag or digest; a private image answers like one that is not there."),
    ("image_build_failed", "image", "user", "The image did not build",
     "Building the machine's image failed.", "Correct the step that the build's last lines name."),
    ("image_push_failed", "image", "runner", "The image could not be stored",
     "The app's registry did not take the machine's image.",
     "Run again; if it repeats, make a new token with `fly tokens create deploy -a <app>`."),
    ("image_pull_failed", "image", "runner", "The image could not be pulled",
     "An image could not be read from its registry.",
     "Run again; if it repeats, check that the registry is up and that the image may be read."),
    ("image_untrusted", "image", "user", "This image may not be built here",
     "The commit is not trusted, and building an image would run its commands as root on the runner.",
     "Build it from a trusted branch first, or name a finished image with `image:`."),
    ("engine_missing", "image", "user", "There is no Docker engine to build with",
     "The image has to be built, and no Docker engine that can do it answers here.",
     "Use a runner with Docker (20.10 or newer), or name a finished image with `image:`."),
    # Repository and setup.
    ("clone_auth_failed", "clone", "user", "The repository may not be read",
     "The machine may not read the repository.",
     "Give the job `permissions: contents: read`; for another private repository pass a `clone_token:`.",
     "The repository is private, or its name is misspelt: GitHub answers both alike."),
    ("clone_ref_not_found", "clone", "user", "The commit does not exist",
     "The repository has no such branch, tag or commit.",
     "Correct `ref:`, or push again and let the new event start the job.",
     "The branch was deleted or force-pushed after the event."),
    ("clone_failed", "clone", "runner", "The repository could not be fetched",
     "Fetching the repository failed.", "Run again; if it repeats, read git's own words.",
     "The network or the git server was disturbed for a moment."),
    ("clone_archive_unusable", "clone", "user", "GitHub's archive cannot stand in for the commit",
     "The private repository came as GitHub's archive of the commit, and that is not the whole commit.",
     "Pass a `clone_token:` that can only read contents: then git fetches the commit itself.",
     "The repository has submodules, Git LFS, `export-ignore`, `export-subst`, or is very large."),
    ("setup_command_failed", "setup", "user", "The setup command failed",
     "The `setup` command ended with an error, so Claude Code was not started.",
     "Correct the command, or what it complains about in the repository, and try it in a clean checkout.",
     "Something works on your computer that a fresh machine lacks: a tool, a variable, a service."),
    # The agent and the model.
    ("agent_start_failed", "agent", "user", "Claude Code did not start",
     "Claude Code refused to start.",
     "Correct `claude_args:`, `settings:` or `json_schema:`; Claude Code's own message names the problem.",
     "A flag that does not exist, or JSON that is not valid."),
    ("model_auth_failed", "model_api", "user", "Anthropic refused the credential",
     "Anthropic refused the API key or OAuth token.",
     "Make a new one with `claude setup-token` (or a new API key) and store it as the secret.",
     "The token has expired or was revoked, or only part of it was pasted."),
    ("model_permission_denied", "model_api", "user", "The account may not use the model",
     "The Anthropic account or organisation is not allowed to do this.",
     "Ask the organisation's administrator, or use another credential."),
    ("model_not_found", "model_api", "user", "The model does not exist",
     "The model does not exist or is not open to this account.",
     "Correct `model:`, or leave it out and let Claude Code choose.", "A misspelt name, or a retired model."),
    ("model_billing", "model_api", "user", "No credit left at Anthropic",
     "The Anthropic account has no credit left.",
     "Add credit at https://console.anthropic.com/settings/billing, or use another credential."),
    ("model_usage_limit", "model_api", "later", "The usage limit is reached",
     "The subscription's usage limit is reached.", "Wait until the limit resets, or use an API key."),
    ("model_rate_limited", "model_api", "later", "Too many requests to the model",
     "The model API kept refusing with too many requests.",
     "Wait some minutes, and keep jobs from running at once with `concurrency:`.",
     "Several jobs share one credential."),
    ("model_overloaded", "model_api", "runner", "The model is overloaded",
     "The model API was overloaded, also after retries.",
     "Run again, or set `claude_args: --fallback-model <model>`."),
    ("model_server_error", "model_api", "runner", "The model API failed",
     "The model API failed on its side, also after retries.",
     "Look at https://status.anthropic.com; when it is green again, run the job again."),
    ("model_unreachable", "model_api", "runner", "The model API could not be reached",
     "The machine could not reach the model API.",
     "Run again; if it repeats, check `anthropic_base_url:` and the app's network."),
    ("model_stream_stalled", "model_api", "runner", "The model stopped in the middle of an answer",
     "The model API stopped sending in the middle of an answer.", "Run again."),
    ("model_invalid_request", "model_api", "no", "The model API called the request invalid",
     "The model API called a request of Claude Code's invalid.",
     "Leave out what is unusual in `claude_args:`, `settings:` or `anthropic_base_url:`. " + _REPORT),
    ("model_refused", "model_api", "user", "The model declined the task",
     "The model declined to do this.", "Rephrase the prompt.",
     "Its safety rules apply to the prompt or to something it read in the repository."),
    ("model_output_limit", "model_api", "user", "The model's answer was too long",
     "The model's answer ran into its output limit, also after continuing.",
     "Ask for smaller steps in the prompt."),
    ("request_too_large", "context", "user", "A request to the model was too large",
     "A request to the model was larger than it accepts.", "Use fewer or smaller images and files."),
    ("context_overflow_initial", "context", "user", "The prompt does not fit into the model's context",
     "The first request was already longer than the model's context.",
     "Shorten the prompt, CLAUDE.md or the list of MCP tools."),
    ("context_overflow", "context", "user", "The task does not fit into the model's context",
     "The conversation outgrew the model's context and could not be compacted.",
     "Split the task into smaller ones."),
    ("compaction_failed", "context", "runner", "The conversation could not be compacted",
     "The conversation outgrew the model's context, and compacting it failed.",
     "Run again; if it repeats, split the task."),
    ("max_turns_reached", "limit", "user", "The turn limit was reached",
     "Claude Code used all its turns before it was done.", "Raise `max_turns:` or split the task."),
    ("budget_exhausted", "limit", "user", "The budget was used up",
     "Claude Code used up its budget before it was done.", "Raise `max_budget_usd:` or split the task."),
    ("structured_output_invalid", "agent", "user", "The answer never fitted the schema",
     "Claude Code could not produce an answer that fits `json_schema`.",
     "Simplify the schema, or describe the answer in the prompt."),
    ("structured_output_missing", "agent", "runner", "The structured answer is missing",
     "`json_schema` was given but Claude Code ended without a structured answer.",
     "Run again; if it repeats, ask for the answer in the prompt."),
    ("hook_blocked", "agent", "user", "A Claude Code hook stopped the run",
     "A hook stopped Claude Code.",
     "Correct the hook in the repository's `.claude/settings.json` or in `settings:`."),
    ("permission_blocked", "agent", "user", "Tools were denied",
     "Claude Code was not allowed to use some tools.", "Allow them with `allowed_tools:`."),
    ("agent_error", "agent", "no", "Claude Code failed",
     "Claude Code ended with an error.",
     "Read its own words in the log and in the execution file. " + _REPORT),
    ("agent_interrupted", "agent", "runner", "Claude Code was interrupted",
     "Claude Code was interrupted, and not by this action.", "Run again."),
    ("result_missing", "agent", "runner", "Claude Code ended without a result",
     "Claude Code's process ended without saying how the work went.", "Run again."),
    ("agent_oom", "agent", "user", "Claude Code ran out of memory",
     "The kernel killed Claude Code because the machine's memory was full.", "Raise `memory_mb:`.",
     "A tool that Claude Code started, such as a build or a test run, took it all."),
    ("agent_silent_timeout", "timeout", "user", "Claude Code went silent",
     "Claude Code printed nothing for longer than `idle_timeout` allows.",
     "Raise `idle_timeout:` if a tool needs that long; else tell Claude Code in the prompt what to avoid.",
     "A command that waits for input or never ends, such as a development server."),
    # The machine's end.
    ("run_timeout", "timeout", "user", "The run took too long",
     "The run did not end within `timeout`. What was done until then is kept.",
     "Raise `timeout:` or split the task."),
    ("cancelled", "cancelled", "no", "The run was cancelled",
     "The job was cancelled before the run was over.",
     "Nothing is left running. Start the job again when you want it.",
     "Somebody pressed cancel, or a newer run of the same `concurrency:` group began."),
    ("machine_oom", "machine", "user", "The machine ran out of memory",
     "The machine's memory was full and its main process was killed.", "Raise `memory_mb:`."),
    ("machine_stopped_externally", "machine", "no", "Somebody stopped the machine",
     "The machine was stopped from outside, and not by this run.",
     "Find out who stops machines of this app; give this action an app that nothing else uses.",
     "A deploy, `fly machine stop`, or a clean-up job in the same app."),
    ("killed_by_signal", "machine", "runner", "A signal ended the run",
     "A signal killed Claude Code or the machine's main process.",
     "Run again; if it repeats, raise `memory_mb:`.",
     "Memory ran out without Fly saying so, or the host was taken away."),
    ("machine_failed", "machine", "runner", "The machine failed at Fly",
     "Fly reports the machine's state as failed.",
     "Run again; if it repeats, name another region in `regions:`."),
    ("machine_exit_nonzero", "machine", "user", "The machine's program ended with an error",
     "The machine's main process ended with an error code.",
     "Read the log's last lines: they are the program's own words."),
    ("machine_lost", "machine", "runner", "The machine disappeared",
     "The machine is gone and nothing tells how it ended.", "Run again.",
     "Its host failed, or somebody destroyed it."),
    ("guest_lost", "machine", "runner", "The machine's supervisor stopped answering",
     "The machine still runs, but our supervisor on it no longer answers as it should.",
     "Run again; if it repeats, raise `memory_mb:`.",
     "The machine has no memory or no disk left for it."),
    ("log_marker_missing", "machine", "user", "The exit marker is missing",
     "The machine's process ended with 0, but Fly tells of no exit and the log ends with no exit marker.",
     "Let the image's program end with `echo '[flaude:exit:0]'`, or use this action's machine image."),
    ("disk_full", "machine", "user", "The machine's disk is full",
     "Nothing more could be written on the machine.", "Fetch or build less, or clean up in `setup:`."),
    ("collect_failed", "collect", "runner", "Not all of the work arrived",
     "The run ended but its files could not be fetched whole.", "Run again.",
     "Fly's API was disturbed; or a file is too large, or has a name that git refuses: then it is named."),
    ("secret_in_changes", "collect", "user", "A credential stands in the change",
     "A credential of this run stands in the change, so the patch is not handed on.",
     "Put a new credential in its place, and tell Claude Code in `prompt:` not to write it into files.",
     "The prompt, or something Claude Code read in the repository, made it write down what it was given."),
    ("result_tampered", "agent", "no", "The result does not match its digest",
     "The machine's result document does not match its own digest, so it is not believed.", _REPORT),
    ("outcome_unknown", "any", "no", "Nobody knows how the run ended",
     "No evidence tells how the run ended, and unknown is never success.",
     "Read the log, look at what has changed, and run the job again if nothing has. " + _REPORT),
    ("internal_error", "any", "no", "flaude-action itself failed",
     "Something in flaude-action itself went wrong. The step's log has the details.", _REPORT),
    # Warnings: told, but they never decide (WARNINGS).
    ("log_stream_lost", "logs", "no", "The log is not complete",
     "The machine's log could not be read to its end.",
     "If the missing lines matter, run the job again."),
    ("agent_linger", "agent", "user", "Claude Code did not exit by itself",
     "Claude Code had given its result, but its process lived on.",
     "Let nothing run in the background at the end of the task.",
     "A server or a watcher that a tool started."),
    ("agent_config_ignored", "agent", "user", "An MCP server did not start",
     "Claude Code went on without an MCP server that did not start.",
     "Correct the MCP configuration; the first event of Claude Code in `execution_file` names the server."),
    ("tool_oom", "agent", "user", "A tool ran out of memory",
     "The kernel killed a process of `setup` or of the agent because the machine's memory was full.",
     "Raise `memory_mb:` if results look incomplete."),
    ("verdict_unconfirmed", "any", "no", "The verdict rests on the log alone",
     "Only the log's last line tells how the run ended.",
     "Build the image on this action's machine image: then a document decides."),
    ("cleanup_failed", "cleanup", "runner", "The machine may still be running",
     "Fly did not confirm that the machine is destroyed. With this action's image it ends at its deadline.",
     "Look with `fly machines list -a <app>`; end it with `fly machine destroy --force -a <app> <id>`."),
)  # fmt: skip

WARNINGS = (
    "log_stream_lost", "agent_linger", "agent_config_ignored", "tool_oom", "verdict_unconfirmed",
    "cleanup_failed",
)  # fmt: skip
"""Only ever warnings, never an `error_type`. `disk_full` and `permission_blocked` can be either."""
