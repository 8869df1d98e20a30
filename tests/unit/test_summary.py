"""The step summary holds untrusted text that stays text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from flaude_action.errors import FlaudeError
from flaude_action.run_report import Outputs, RunReport
from flaude_action.summary import RESULT_CHARS, fenced, inline, summary

HOSTILE = "x``` ````` \n# head\n<img src=x>\n@octocat [a](http://b) | c ![d](e) </details> ~~~ \x1b[31m"


def shown(report: RunReport) -> str:
    return summary(report.complete(report_file="").document())


@pytest.mark.parametrize("text", [HOSTILE, "```", "`", "````text", "", "a\r\n```\rb", "\u2028```"])
def test_fenced(text: str) -> None:
    """No text ends its own code block."""
    lines = fenced(text).split("\n")
    fence = re.match("`+", lines[0])
    assert fence
    assert lines[0] == f"{fence.group()}text"
    assert lines[-1] == fence.group()
    assert not any(re.match(rf"\s*`{{{len(fence.group())},}}\s*$", line) for line in lines[1:-1])


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b", "a\\|b"),
        ("<b>", "\\<b\\>"),
        ("@octocat", "@\u200boctocat"),
        ("[a](http://b)", "\\[a\\]\\(http\\://b\\)"),
        ("www.example", "www\u200b.example"),
        ("a\n# b", "a \\# b"),
        ("`code`", "\\`code\\`"),
        ("&lt;", "\\&lt;"),
        ("$x$", "\\$x\\$"),
    ],
)
def test_inline(text: str, markdown: str) -> None:
    """Nothing in a sentence becomes markup, a link, a mention or a line of its own."""
    assert inline(text) == markdown


def test_success() -> None:
    """A good run is told with its facts and its answer; nothing that is empty is mentioned."""
    facts = Outputs(conclusion="success", exit_code=0, exit_code_source="guest_result", num_turns=3)
    facts = replace(facts, machine_id="148e", region="fra", cleanup="destroyed", cost_usd=0.0421)
    facts = replace(facts, changed_files=("a", "b"), phase_seconds={"boot": 2.04, "agent": 61.0})
    text = shown(RunReport(replace(facts, result="Done.")))
    assert text.startswith("### Claude Code on Fly.io: success\n")
    for row in (
        "| Exit code | 0 \\(guest\\_result\\) |",
        "| Turns | 3 |", "| Cost of the model | \\$0.0421 |",
        "| Machine | 148e fra destroyed |", "| Time | boot 2.0 s, agent 61.0 s |", "| Changed files | 2 |",
    ):  # fmt: skip
        assert row in text
    assert "```text\nDone.\n```" in text
    assert "Image" not in text
    assert "Warnings" not in text


def test_failure() -> None:
    """A failure heads the page: what to do, its type, its reference, and the line that explains it."""
    error = FlaudeError("clone_failed", details="It took 3 tries.")
    text = shown(RunReport(errors=(error,), line="fatal: `x`", warnings=(("tool_oom", "2 kills."),)))
    assert text.startswith("### Claude Code on Fly.io: failure. The repository could not be fetched\n")
    assert "Fetching the repository failed. It took 3 tries." in text
    assert f"(`clone_failed`, `{error.ref}`)" in text
    assert "```text\nfatal: `x`\n```" in text
    assert "- The kernel killed a process" in text
    assert "2 kills. (`tool_oom`)" in text


def test_hostile_text_everywhere() -> None:
    """Wherever a stranger's text ends up, the page's own structure is what it was."""
    tame = shown(RunReport(Outputs(result="x", image="x"), line="x", log_tail=("x",), notices=("x",)))
    outputs = Outputs(result=HOSTILE, image=HOSTILE)
    wild = shown(RunReport(outputs, line=HOSTILE, log_tail=(HOSTILE,), notices=(HOSTILE,)))
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "FENCE", wild)
    assert outside.count("FENCE") == 3
    for mark in ("<details>", "</details>", "\n#", "\n|"):
        assert outside.count(mark) == tame.count(mark)
    assert not re.search(r"(?<!\\)<(?!details|/details|summary|/summary)", outside)
    assert "@octocat" not in outside


def test_a_long_answer_is_cut() -> None:
    """The answer is shown up to a length and says that it goes on."""
    text = shown(RunReport(Outputs(result="x" * (RESULT_CHARS + 1))))
    assert f"[cut: {RESULT_CHARS + 1} characters in all]" in text
    assert "x" * (RESULT_CHARS + 1) not in text
