"""The step summary holds untrusted text that stays text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from flaude_action.annotations import Finding
from flaude_action.catalog import CATALOG
from flaude_action.errors import FlaudeError
from flaude_action.markdown import code, fenced, inline, prose
from flaude_action.run_report import Outputs, RunReport, Warned
from flaude_action.summary import FILES_SHOWN, RESULT_CHARS, summary

HOSTILE = "x``` ````` \n# head\n<img src=x>\n@octocat [a](http://b) | c ![d](e) </details> ~~~ \x1b[31m"


EVIDENCE = {
    "image": "ours", "guest_result": True, "api_event": None, "api_status": "", "log_marker": 0,
    "platform_log": None, "own_stop": None, "trouble": "", "log_complete": True,
}  # fmt: skip
MACHINE = {
    "cpu_kind": "shared", "cpus": 2, "memory_mb": 4096, "seconds": 71.2, "prices_date": "2026-11-21",
    "prices_url": "https://fly.io/docs/about/pricing/",
}  # fmt: skip


def shown(report: RunReport) -> str:
    return summary(report.complete().document())


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
        ("[a](http://b)", "\\[a\\]\\(http\\:/\u200b/b\\)"),
        ("www.example", "www\u200b.example"),
        ("a\n# b", "a \\# b"),
        ("`code`", "\\`code\\`"),
        ("&lt;", "\\&lt;"),
        ("$x$", "\\$x\\$"),
        ("1. a", "1\\. a"),
    ],
)
def test_inline(text: str, markdown: str) -> None:
    """Nothing in a sentence becomes markup, a link, a mention or a line of its own."""
    assert inline(text) == markdown


@pytest.mark.parametrize("text", ["a.py", "a`b", "``", "`a", "a|b", "", "*x* <b> @o ![](u)", "a\nb"])
def test_code(text: str) -> None:
    """Nothing ends a code span but its own fence; in a table, text with bars is no code."""
    found = re.fullmatch(r"(`+)( ?)(.*?)\2\1", code(text))
    assert found
    assert found[1] not in re.findall("`+", found[3])
    assert found[3].strip() == " ".join(text.split())
    assert code(text, cell=True) == (inline(text) if "|" in text else code(text))


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("Raise `memory_mb:` *now*.", "Raise `memory_mb:` \\*now\\*."),
        ("At https://status.flyio.net; x", "At <https://status.flyio.net>; x"),
        ("x:https://status.flyio.net`", "x\\:https\\:/\u200b/status.flyio.net\\`"),
        ("`@octocat` @octocat", "`@octocat` @\u200boctocat"),
        ("a ` b", "a \\` b"),
        ("``x` `y", "\\`\\`x\\` \\`y"),
    ],
)  # fmt: skip
def test_prose(text: str, markdown: str) -> None:
    """Words between back-ticks are code, links of our own hints are links, and everything else is text."""
    assert prose(text) == markdown


def test_success() -> None:
    """A good run is told with its costs, its changes and its answer; nothing that is empty is mentioned."""
    facts = Outputs(conclusion="success", exit_code=0, exit_code_source="guest_result", num_turns=3)
    facts = replace(facts, machine_id="148e", region="fra", cleanup="destroyed", cost_usd=0.0421)
    facts = replace(
        facts, machine_cost_usd=0.0007, result="Done.", phase_seconds={"boot": 2.04, "agent": 61.0}
    )
    facts = replace(facts, changed_files=("a.py", "old|name.py"))
    changes = ({"path": "a.py", "status": "modified"}, {"path": "old|name.py", "status": "deleted"})
    text = shown(RunReport(facts, changes=changes, evidence=EVIDENCE, machine=MACHINE))
    assert text.startswith("### ✅ Claude Code on Fly.io: success. The work is done\n")
    for line in (
        "| Exit code | 0 |",
        "| Model | \\$0.0421, 3 turns |",
        "| Machine | \\$0.0007 for 71 s of 2 shared CPUs, 4096 MB (",
        "| Machine id | `148e` `fra` `destroyed` |",
        "**Changed: 2 files**\n\n- M `a.py`\n- D `old|name.py`",
        "<details><summary>Time: 63.0 seconds</summary>",
        "| Start it | 2.0 |",
        "| **Together** | **63.0** |",
        "The machine's own result document decided: it is whole and its digest is right.",
        "| Last word in the log | exit code 0 |",
        "**Claude Code's answer**\n\n```text\nDone.\n```",
    ):
        assert line in text
    for absent in ("Image", "Warnings", "CAUTION", "last lines"):
        assert absent not in text


@pytest.mark.parametrize(
    ("cost", "said"), [(0.0, "\\$0"), (0.00001, "less than \\$0.0001"), (0.0001, "\\$0.0001")]
)
def test_small_costs(cost: float, said: str) -> None:
    """Nothing costs nothing, and what costs something never looks as if it did not."""
    assert f"| Model | {said} |" in shown(RunReport(Outputs(cost_usd=cost)))


def test_failure() -> None:
    """A failure heads the page: what it means, what to do, whose turn it is, and the lines that show it."""
    error = FlaudeError("clone_failed", details="It took 3 tries.")
    told = RunReport(
        errors=(error,), line="fatal: `x`", warnings=(Warned("tool_oom", "2 kills."),), excerpt=("a", "b"),
        findings=(Finding("src/a.c", 3, 1, "expected *;*"),),
    )  # fmt: skip
    text = shown(told)
    assert text.startswith("### ❌ Claude Code on Fly.io: failure. The repository could not be fetched\n")
    kind = CATALOG["clone_failed"]
    assert "> [!CAUTION]\n> Fetching the repository failed. It took 3 tries.\n>\n> **What it usually" in text
    assert "\n>\n> **What to do:** Run again" in text
    assert f"> [`clone_failed`]({kind.url}), reference `{error.ref}`" in text
    assert "```text\nfatal: `x`\n```" in text
    assert "```text\na\nb\n```" in text
    assert "- `src/a.c:3` expected \\*;\\*" in text
    assert "2 kills. Raise `memory_mb:` if" in text


def test_our_own_stop_is_named() -> None:
    """When we ended the run ourselves, that is what the page says decided."""
    facts = Outputs(exit_code_source="none")
    error = FlaudeError("run_timeout")
    text = shown(RunReport(facts, errors=(error,), evidence=EVIDENCE | {"own_stop": "run_timeout"}))
    assert "This step's own decision to stop decided" in text
    assert "Nothing told" not in text


def test_hostile_text_everywhere() -> None:
    """Wherever a stranger's text ends up, the page's own structure is what it was."""

    def page(text: str) -> str:
        facts = Outputs(result=text, image=text, region=text, changed_files=(text,))
        told = RunReport(
            facts, line=text, log_tail=(text,), notices=(text,), excerpt=(text,), machine=MACHINE,
            errors=(FlaudeError("agent_error", text, details=text, hint=text),),
            findings=(Finding(text, 1, None, text),), changes=({"path": text, "status": text},),
            evidence=EVIDENCE | {"api_status": text}, warnings=(Warned("tool_oom", text),),
        )  # fmt: skip
        return shown(told)

    def structure(page: str) -> str:
        outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "FENCE", page)
        return re.sub(r"(?<![\\`])(`+)(?!`).*?(?<!`)\1(?!`)", "CODE", outside)

    tame, wild = structure(page("x")), structure(page(HOSTILE))
    for mark in ("FENCE", "<details>", "</details>", "\n#", "\n|", "\n>", "\n- "):
        assert wild.count(mark) == tame.count(mark), mark
    assert not re.search(r"(?<!\\)<(?!details|/details|summary|/summary)", wild)
    assert "@octocat" not in wild


def test_lists_are_bounded() -> None:
    """The answer and the list of files are shown up to a length and say that they go on."""
    paths = tuple(f"file{number}" for number in range(FILES_SHOWN + 5))
    changes = tuple({"path": path, "status": "added"} for path in paths)
    text = shown(RunReport(Outputs(result="x" * (RESULT_CHARS + 1), changed_files=paths), changes=changes))
    assert f"[cut: {RESULT_CHARS + 1} characters in all]" in text
    assert "x" * (RESULT_CHARS + 1) not in text
    assert text.count("- A `file") == FILES_SHOWN
    assert "- and 5 more" in text


def test_one_is_not_many() -> None:
    """One turn on one CPU is told in the singular."""
    text = shown(RunReport(Outputs(num_turns=1), machine=MACHINE | {"cpus": 1}))
    assert "| Model | 1 turn |" in text
    assert "1 shared CPU, 4096 MB" in text
