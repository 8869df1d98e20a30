"""No secret that goes into a step comes out of it: not whole, not encoded, not wrapped, in no place."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import runner
from tests.unit.test_report import Step

from flaude_action.annotations import Finding
from flaude_action.artifacts import Artifacts
from flaude_action.errors import FlaudeError
from flaude_action.kept_files import redacted_copy
from flaude_action.publish import publish
from flaude_action.redaction import MASK, bared
from flaude_action.run_report import Outputs, RunReport, Warned
from flaude_action.untrusted import visible

if TYPE_CHECKING:
    from collections.abc import Callable

# What tokens are made of, and what JSON, URLs, HTML and Markdown write in another way.
SECRETS = st.text("abcXYZ0189-_.~+/=&<>\"'\\%é*|`$ ", min_size=8, max_size=40).filter(
    lambda secret: len(bared(secret)) >= 8 and len(set(bared(secret))) > 3
)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "URL": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of more": lambda text: base64.b64encode(f"user:{text}!".encode()).decode(),
    "hex": lambda text: text.encode().hex(),
}


# What is gone as soon as text is shown.
UNSEEN = st.sampled_from(["\u200b", "\x1b[0m", "\x1b]8;;x\x07", "\x00", "\u202e", "\udc80"])


@st.composite
def sayings(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A secret, and lines of log in which it stands, in some form, perhaps cut over lines in two places, and
    with something that cannot be seen in a third and a fourth."""
    secret = draw(SECRETS)
    written = FORMS[draw(st.sampled_from(sorted(FORMS)))](secret)
    unseen = draw(st.dictionaries(st.integers(1, len(written) - 1), UNSEEN, max_size=2))
    units = [unseen.get(place, "") + char for place, char in enumerate(written)]
    cuts = sorted(draw(st.lists(st.integers(1, max(1, len(units) - 1)), max_size=2)))
    margin = draw(st.sampled_from(["", "  | ", "\t", "| "]))
    pieces = ["".join(units[start:end]) for start, end in zip([0, *cuts], [*cuts, len(units)], strict=True)]
    around = st.text("xyz :,\n", max_size=8)
    lines = (draw(around) + ("\n" + margin).join(pieces) + draw(around)).split("\n")
    return secret, lines


def holds(text: str, secret: str) -> list[str]:
    """In which forms a text holds the secret for who looks at it, however it is wrapped."""
    text = text.replace(MASK, "<>").replace("\\n", "\n").replace("%0A", "\n")
    bare = bared(visible(re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text)))
    forms = {name: bared(write(secret)) for name, write in FORMS.items() if name != "base64 of more"}
    # The last, partial group of base64 says nothing by itself.
    forms["base64"] = forms["base64"][: len(secret.encode()) // 3 * 4]
    return [name for name, form in forms.items() if len(form) >= 8 and form in bare]


@settings(max_examples=150, deadline=None)
@given(sayings(), st.integers(1, 3))
def test_no_secret_in_any_place(saying: tuple[str, list[str]], page: int) -> None:
    """Step log after masking, annotations, outputs, summary, report.json, log file and execution file."""
    secret, lines = saying
    text = "\n".join(lines)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        step = Step(folder, RUNNER_DEBUG="1")
        step.report.mask([secret])
        with Artifacts(folder, "a") as artifacts:
            with artifacts.open("machine.log") as log:
                step.report.log_to(log)
                for start in range(0, len(lines), page):
                    step.report.machine_lines(lines[start : start + page])
                step.report.log_to(None)
            source = folder / "source"
            source.write_text(json.dumps({"type": "assistant", "text": text}) + "\n")
            redacted_copy(source, "transcript.jsonl", step.report, artifacts)
            source.unlink()
            error = FlaudeError("agent_error", details=text, dev=text, hint=text)
            facts = Outputs(result=text, structured_output={"a": [text]}, changed_files=(text,), image=text)
            publish(
                step.report,
                RunReport(
                    facts, errors=(error,), line=text, notices=(text,), warnings=(Warned("tool_oom", text),),
                    findings=(Finding("a.c", 1, None, text),), changes=({"path": text, "status": text},),
                    log_tail=step.report.tail(20), excerpt=step.report.excerpt("agent"),
                ),
                artifacts,
            )  # fmt: skip
        shown = "\n".join(step.log.shown)
        told = [value for command in step.log.commands if command.name != "add-mask"
                for value in (command.data, *command.properties.values())]  # fmt: skip
        outputs = runner.parse_file((folder / "GITHUB_OUTPUT").read_text())
        files = {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}
    files["GITHUB_STEP_SUMMARY"] = files["GITHUB_STEP_SUMMARY"].replace("\\", "").replace("\u200b", "")
    places = {
        "step log": shown,
        "annotations": "\n".join(told),
        "outputs": "\n".join(outputs.values()),
        **files,
    }
    for place, content in places.items():
        assert not holds(content, secret.replace("\\", "") if place == "GITHUB_STEP_SUMMARY" else secret), (
            place
        )
