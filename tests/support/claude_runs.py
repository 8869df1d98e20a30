"""Recorded runs of Claude Code: what each must come to, and a program that plays them again.

What was recorded and how is in tests/reference/claude-runs/README.md.
"""

from __future__ import annotations

import csv
from pathlib import Path

RUNS = Path(__file__).parents[1] / "reference" / "claude-runs"
INDEX = {
    row["case"]: row
    for row in csv.DictReader((RUNS / "INDEX.tsv").read_text("utf-8").splitlines(), delimiter="\t")
}

# What each recorded run must come to: told by what was done to it (RUNS/README.md), not by our code.
# The first of each kind stands for the others where one is enough.
EXPECTED = {
    "": """
        success 429once 529once apikey autocompact autocompact2 autocompact3 autocompact4 bg bgserver
        bud_2resume continue_1 cutonce empty env_homero env_nohome env_root_sandbox
        env_tmp755_TMPDIR env_tmp755_fix env_wsro hook_start hook_stop kill_2resume mcp_fail
        mt_2resume ov_2compact ov_3continue pause perm_accept perm_none resume_1 resume_2 resume_3
        resume_compact resume_compact_instr resume_fork schema settings_badtype strict_mcp_fail
        textonly toolbadinput toolfail toolongmid tooltimeout tooltimeout_nobg toolunknown""",
    "agent_error": "slash_disabled",
    "agent_interrupted": "sigint_tool sigint_retry",
    "agent_start_failed": """
        badflag env_root schemainvalid sessionid_bad sessionid_dup settings_flag_malformed
        settings_flag_missing text_401 text_maxturns""",
    "budget_exhausted": "maxbudget bud_1",
    "compaction_failed": "toolongcompactfail ov_1 ov_compactfail toolongcompact500",
    "context_overflow": "toolongalways autocompact_off compact_off",
    "context_overflow_initial": "toolong",
    "environment_unusable": "env_tmp755",
    "killed_by_signal": """
        sigkill_tool kill_1 sighup_api sigkill_api sigterm_api sigterm_pg sigterm_retry sigterm_tool
        toolkillself""",
    "max_turns_reached": "maxturns mt_1",
    "model_auth_failed": "401 401exp 401key 403rev json_401 mid401 noauth",
    "model_billing": "credit",
    "model_invalid_request": "400other",
    "model_not_found": "404model",
    "model_output_limit": "maxtok",
    "model_overloaded": "529 fallback",
    "model_permission_denied": "403",
    "model_rate_limited": "429 429long",
    "model_refused": "refusal",
    "model_server_error": "mid500 retries0_500",
    "model_stream_stalled": "streamstall_bwd",
    "model_unreachable": "cut",
    "model_usage_limit": "429unified",
    "request_too_large": "413",
    "run_timeout": "hang hangstream firstbyte_wd overl_wait",
    "structured_output_invalid": "schemabad",
    "structured_output_missing": "schemanone2",
}
TYPE_OF = {case: type_ for type_, cases in EXPECTED.items() for case in cases.split()}
WARNED = {
    "bg": "agent_linger",
    "bgserver": "agent_linger",
    "mcp_fail": "agent_config_ignored",
    "strict_mcp_fail": "agent_config_ignored",
    "perm_none": "permission_blocked",
}

# Changes a file first, as an agent that worked would have. A run that its recorder had to stop stays.
_PLAYER = """#!/bin/sh
[ "$1" != --version ] || exec echo "2.1.330 (Claude Code)"
cat > /dev/null
echo played > played.txt
[ ! -e "$RUNS/$PLAYED.jsonl" ] || cat "$RUNS/$PLAYED.jsonl"
[ ! -e "$RUNS/$PLAYED.stderr" ] || cat "$RUNS/$PLAYED.stderr" >&2
case $THEN in
  stay) exec sleep 600 ;;
  -*) kill "$THEN" $$ ;;
  *) exit "$THEN" ;;
esac
"""


def player(folder: Path) -> Path:
    """A program in place of `claude` that plays the run which its environment names (see `to_play`)."""
    program = folder / "claude"
    program.write_text(_PLAYER)
    program.chmod(0o755)
    return program


def to_play(case: str, then: str = "") -> dict[str, str]:
    """The environment in which the player plays that run and ends as it was recorded, or as `then` says.

    `then` is an exit code, a signal as `-9`, or `stay`. A run that was not recorded prints nothing.
    """
    row = INDEX.get(case)
    recorded = "stay" if row is None or row["killed_by_us"] == "True" else row["exit"]
    return {"RUNS": str(RUNS), "PLAYED": case, "THEN": then or recorded}
