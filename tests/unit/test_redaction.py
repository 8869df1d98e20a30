"""Secrets are taken out of text in every form they take."""

from __future__ import annotations

import base64
import html
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaude_action.redaction import MASK, Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = 'fm2_+l"J/P é&<x>=='
FORMS = {
    "plain": SECRET,
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON as UTF-8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "URL": quote(SECRET, safe=""),
    "path": quote(SECRET),
    "form": quote_plus(SECRET),
    "HTML": html.escape(SECRET),
    "Python": repr(SECRET)[1:-1],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms(form: str) -> None:
    """The secret is found as JSON, URLs, HTML and Python write it."""
    assert Redactor([SECRET]).redact(f"a {form} b") == f"a {MASK} b"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "x", "xy", "user:"])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_base64(encode: Callable[[bytes], bytes], before: str, after: str) -> None:
    """Nor does base64 hide it, wherever in the encoded text it lies: only a few characters stay."""
    redacted = Redactor([SECRET]).redact(encode((before + SECRET + after).encode()).decode())
    assert MASK in redacted
    assert len(redacted) <= len(MASK) + len(encode((before + after).encode())) + 6


@given(st.text(min_size=4), st.text(), st.text())
def test_never_left(secret: str, before: str, after: str) -> None:
    """Whatever stands around it, the secret itself is gone; too short ones are no secrets."""
    stripped = secret.strip()
    redacted = Redactor([secret]).redact(before + secret + after)
    assert len(stripped) < 4 or stripped in MASK or stripped not in redacted.replace(MASK, "\0")


def test_short_secrets_are_left_alone() -> None:
    """A secret of three characters or fewer would take every such syllable out of the log."""
    assert Redactor(["abc", "", " a "]).redact("abc a") == "abc a"


def test_lines_of_a_secret() -> None:
    """Each line of a multi-line secret is one as well, but not a line that is only a bracket."""
    redactor = Redactor(["{\n  first-line\n}\nsecond-line"])
    assert redactor.redact("{ first-line } second-line") == f"{{ {MASK} }} {MASK}"


def test_a_secret_inside_another() -> None:
    """Of two secrets, one the beginning of the other, nothing is left."""
    assert Redactor(["abcd", "abcdefgh"]).redact("abcdefgh abcd") == f"{MASK} {MASK}"


def test_wrapped_secrets() -> None:
    """A secret that a terminal has wrapped over line ends is found, and the lines stay as many."""
    redactor = Redactor(["0123456789abcdef"])
    assert redactor.redact_lines(["x 01234", "56789", "abcdef y", "z"]) == [
        f"x {MASK}",
        MASK,
        f"{MASK} y",
        "z",
    ]
    assert redactor.redact_lines(["a", "b"]) == ["a", "b"]
    assert Redactor().redact_lines(["a"]) == ["a"]


def test_json_values() -> None:
    """In a JSON value only texts change, so that it stays JSON: a number that is a secret stays a number."""
    redactor = Redactor(["123456"])
    value = {"123456": ["x123456", 123456, None, True, {"a": ("123456",)}]}
    assert redactor.redact_json(value) == {MASK: [f"x{MASK}", 123456, None, True, {"a": [MASK]}]}
