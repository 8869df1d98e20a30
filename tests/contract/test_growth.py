"""Whatever a machine, a model, a pull request or an API writes, its time is in proportion to its length."""

from __future__ import annotations

import base64
import io
import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.growth import FLOOR_S, check_growth, check_share, seconds_of

from flaude_action.annotations import fitting
from flaude_action.build_progress import BuildProgress
from flaude_action.dockerfile import external_images, labelled
from flaude_action.errors import ConfigError
from flaude_action.fly_errors import error_from
from flaude_action.fly_fields import nanoseconds
from flaude_action.image_errors import status_in
from flaude_action.image_reference import parse_reference
from flaude_action.log_excerpt import LogExcerpt
from flaude_action.log_lines import GuestLines, LogLine
from flaude_action.log_witness import LogWitness
from flaude_action.markdown import code, fenced, inline, prose
from flaude_action.redaction import Redactor, bared
from flaude_action.registry_http import bearer_challenge
from flaude_action.report import Report
from flaude_action.runner_protocol import command, file_entry, portable, shortened
from flaude_action.secret_forms import forms
from flaude_action.untrusted import cut, margin_lines, one_line, quoted, visible
from flaude_guest import findings, protocol
from flaude_guest.output import neutral, pieces
from flaude_guest.secrecy import Secrecy

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "sk-ant-oat01-" + "c0ffee" * 12
SECRETS = [TOKEN, "fm2_" + "lJPECAAA" * 40, "ghs_" + "1234abcd" * 5, "hunter2 se|cret! pass...word", "word"]


def report() -> Report:
    made = Report({}, io.StringIO())
    made.mask(SECRETS)
    return made


def begun(form: str) -> set[str]:
    """How a form begins, up to all of it but one character, with and without what tells of a cut."""
    starts = {form[:8], form[: len(form) // 2], form[:-1]}
    return {start + end for start in starts for end in ("", "...", "\n")}


BEGUN = sorted({text for form in forms(TOKEN) for text in begun(form)})
ODD = [
    " ", "\t ", "\n", "\r", "\r\n", "\x0b\x85\u2028", "a", "aa aa ", "a\n", "|!> ", "| ", "\u200b",
    "a\u200b", "\x1b", "\x1b[", "\x1b[1", "\x1b[0m", "\x1b]", "\x1b]0;t\x07", "\x1b ", "\udc80", "\0", "é",
    "\U0001f600", "...", "…", ". . .", "a …", "\\n", "\\u0073", "\\u0073\\u006b", "\\", "\\\\", '"', "'",
    "AAAA", "%73", "%", "&amp;", "##[", "::", ":: ", "::error::", "`", "``", "<", "<a>", "[", "](", "{", "}",
    "${a:-", "${a}", "$", "1", "1.", "[1", "[flaude:", "[flaude:exit:1", "[flaude:exit:1]", "-", "_", "a-",
    "a.", "a/", "/", "=", "a=", 'a="', "a,", "a:1: ", "a(1,1): ", "=== ", "___ ", "E   ", "FROM ", "FROM a ",
    "COPY --from=a ", "ARG a=b\n", "\\\n", "# escape=", "[ 1.1] ", "INFO ", "status code: ",
    "2026-11-21T10:00:00.",
]  # fmt: skip
TRAPS = [" ", "\n", "a", "\x1b[1", "\x1b]", "1", "a=", "___ ", "${a:-", "<", "a:1: ", "`", "/"]
WRAPPED = "\n".join(TOKEN)
SECRET_TEXT = [
    TOKEN,
    f"{TOKEN}\n",
    WRAPPED,
    " ".join(TOKEN),
    SECRETS[3],
    "word",
    "hunter2 se",
    f"{TOKEN[:9]}\u200b",
]
TELLING = [
    "sk-ant-o",
    "sk-ant-o...",
    "sk-ant-o\n",
    "\\u0073",
    "aa aa ",
    "\n",
    " ",
    "\x1b[",
    WRAPPED,
    "\u200b",
]


def page(text: str) -> object:
    return Redactor(SECRETS).redact_page(text.split("\n"), "")


def json_line(text: str) -> object:
    return Redactor(SECRETS).redact_json_line(json.dumps({"type": "user", "text": text}) + "\n")


def json_line_in_ascii(text: str) -> object:
    return Redactor(SECRETS).redact_json_line('{"text":"' + "".join(text.splitlines()) + '"}\n')


def excerpt(text: str) -> None:
    seen = LogExcerpt()
    seen.see(text.split("\n"))
    seen.of_failure("any", 15)


def witness(text: str) -> None:
    LogWitness().see(text, "app")
    LogWitness().see(text, "runner")


def guest_lines(text: str) -> None:
    GuestLines().see(LogLine("", text, "app", "", "", "", ""))


def progress(text: str) -> None:
    told = BuildProgress(lambda _: None)
    for start in range(0, len(text), 1000):
        told.tell({"stream": text[start : start + 1000]})


def found(text: str) -> None:
    findings.find(text.split("\n"), Path("/nowhere"))
    findings.find([text], Path("/nowhere"))


def reference(text: str) -> None:
    for image in (text, f"a/{text}", f"a:{text}", f"a@{text}", text + "!"):
        try:
            parse_reference(image)
        except ConfigError:
            continue


SAID: dict[str, Callable[[str], object]] = {
    "redact": Redactor(SECRETS).redact,
    "a page": page,
    "a line of JSON": json_line,
    "a line of JSON, as it is": json_line_in_ascii,
    "a JSON value": lambda text: Redactor(SECRETS).redact_json({"a": text.split("\n"), text: [text]}),
    "machine lines": lambda text: report().machine_lines([text]),
    "many machine lines": lambda text: report().machine_lines(text.split("\n")),
    "a quote": lambda text: report().quote(text),
    "safe lines": lambda text: report().safe_lines(text),
    "an annotation": lambda text: report().annotate("error", text, text, file=text),
}  # fmt: skip
READ: dict[str, Callable[[str], object]] = {
    "bared": bared,
    "visible": visible,
    "margin": margin_lines,
    "one line": one_line,
    "quoted": quoted,
    "cut": cut,
    "command": lambda text: command("error", text, {"title": text}),
    "file entry": lambda text: file_entry("a", text),
    "portable": portable,
    "shortened": shortened,
    "fitting": fitting,
    "excerpt": excerpt,
    "witness": witness,
    "guest's lines": guest_lines,
    "event": lambda text: list(map(protocol.parse_event_line, (text, "[flaude:event:{" + text))),
    "exit": lambda text: list(map(protocol.parse_exit_line, (text, "[flaude:exit:" + text))),
    "broken markers": protocol.break_markers,
    "neutral": lambda text: list(pieces(neutral(text, Secrecy(SECRETS)))),
    "findings": found,
    "an API's error": lambda text: error_from(400, {"retry-after": text}, text, "GET", "/v1/apps"),
    "an engine's error": status_in,
    "a challenge": lambda text: (bearer_challenge(text), bearer_challenge("Bearer " + text)),
    "a time": lambda text: nanoseconds("2026-11-21T10:00:00." + text),
    "a Dockerfile": lambda text: external_images(text, {}),
    "a Dockerfile's line": lambda text: external_images(f"FROM {text}", {}),
    "a Dockerfile's stages": lambda text: labelled(f"FROM {text}", "a=b"),
    "a Dockerfile's argument": lambda text: external_images(f"ARG A={text}\nFROM $A", {}),
    "a reference": reference,
    "progress": progress,
    "Markdown": lambda text: (fenced(text), inline(text), prose(text), code(text)),
}  # fmt: skip


def test_what_grows_too_fast_is_seen() -> None:
    """A square is; the busiest moment of a fair measure is not."""
    check_share(lambda size: 1e-6 * size * math.log2(size), 10_000)
    with pytest.raises(AssertionError, match="8 times as much"):
        check_share(lambda size: 1e-9 * size**2, 10_000)
    slowed = iter([1, 2, 1, 1])
    check_share(lambda size: 1e-6 * size * next(slowed), 10_000)


def keystore(lines: int, head: str = "") -> list[str]:
    rng = random.Random(1)
    return [head + base64.b64encode(rng.randbytes(57)).decode()[len(head) :] for _ in range(lines)]


def seconds_of_pages(secret: str, log: list[str]) -> float:
    redactor = Redactor([secret])
    pages = [log[at : at + 200] for at in range(0, len(log), 200)]
    return seconds_of(lambda _: [redactor.redact_page(page, "") for page in pages], "")


def test_secrets_of_many_lines() -> None:
    """A log costs hardly more with a keystore of five hundred lines than with a token of one."""
    log = [f"{number} packages are looking for funding, {number * 7919}" for number in range(10_000)]
    pairs = []
    for _ in range(6):
        pairs.append([seconds_of_pages("\n".join(keystore(lines)), log) for lines in (1, 500)])
        if pairs[-1][1] <= 5 * max(pairs[-1][0], FLOOR_S):
            return
    raise AssertionError(pairs)


@pytest.mark.parametrize("head", ["", "export AWS_", "AAAAAAAAAAAA"])
@pytest.mark.parametrize(("end", "length"), [("\n", 12), ("\n", 40), ("\n", 76), ("...", 12)])
def test_text_of_what_many_secrets_begin_with(head: str, end: str, length: int) -> None:
    """Whoever knows a keystore can write how each line of it begins: that is soon looked at, too."""
    few, many = [
        end.join(line[:length] for line in lines * (800 // len(lines))).split("\n")
        for lines in (keystore(20, head), keystore(800, head))
    ]
    pairs = []
    for _ in range(6):
        pairs.append(
            [
                seconds_of_pages("\n".join(keystore(lines, head)), log * 2)
                for lines, log in ((20, few), (800, many))
            ]
        )
        if pairs[-1][1] <= 5 * max(pairs[-1][0], 4 * FLOOR_S):
            return
    raise AssertionError(pairs)


@pytest.mark.parametrize("piece", TELLING, ids=lambda piece: ascii(piece[:12]))
@pytest.mark.parametrize("name", SAID)
def test_what_is_shown(name: str, piece: str) -> None:
    """Where secrets are looked for."""
    check_growth(SAID[name], piece)


@pytest.mark.full
@pytest.mark.parametrize("name", SAID)
def test_all_that_is_shown(name: str) -> None:
    """The same for all that a secret can begin with, and all that may be mistaken for a part of one."""
    for piece in [*ODD, *SECRET_TEXT, *(BEGUN if name in ("redact", "a page") else ())]:
        check_growth(SAID[name], piece)


@pytest.mark.full
@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str) -> None:
    """Where something is looked for in others' text: no expression goes over it again and again."""
    for piece in TRAPS:
        check_growth(READ[name], piece)


@pytest.mark.full
@pytest.mark.parametrize("name", READ)
def test_all_that_is_read(name: str) -> None:
    """The same for all that any of them looks for."""
    for piece in ODD:
        check_growth(READ[name], piece)
