"""Every form of a credential is known, and nothing is hidden or refused that is none."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaude_action.credential_forms import (
    SECRET_INPUTS,
    all_texts,
    fly_forms,
    forms_of,
    git_forms,
    holders,
    login_forms,
    not_covered,
)
from flaude_action.fly_access import authorization
from flaude_action.redaction import Redactor
from flaude_action.registry_credentials import Logins, credentials
from flaude_action.secret import SecretStr

FIRST, SECOND = "fm2_" + "aB1c" * 9, "fm2_" + "dE2f" * 9
BOTH = f"{FIRST},{SECOND}"


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"FlyV1 {BOTH}",
        BOTH,
        f"Bearer FlyV1 {FIRST} , {SECOND} ",
        f"flyv1 {BOTH}\n",
        f"FlyV1 {FIRST},\n {SECOND}",
    ],
)
def test_forms_of_a_fly_token(text: str) -> None:
    """As it came, each part, as it is sent to Fly, and as it is sent to Fly's registry."""
    forms = fly_forms(text)
    assert forms[0] == text
    document = json.dumps({"username": "x", "password": BOTH})
    wanted = [FIRST, SECOND, BOTH, f"FlyV1 {BOTH}", base64_of(f"x:{BOTH}")]
    assert {*wanted, base64.urlsafe_b64encode(document.encode()).decode()} <= set(forms)


PREFIXES = st.sampled_from(["fm2_", "fm1r_", "fm1a_", "fo1_", ""])
PARTS = st.tuples(PREFIXES, st.text("aB1+/=-_.", min_size=1, max_size=20)).map("".join)
TOKENS = st.lists(PARTS, min_size=1, max_size=4).map(",".join)


@given(TOKENS, st.sampled_from(["", "FlyV1 ", "Bearer ", "bearer FlyV1  "]))
def test_what_is_sent_is_known(token: str, scheme: str) -> None:
    """Whatever is made of a token, both headers that are made of it are among its forms, and hidden."""
    forms = fly_forms(scheme + token)
    user, password = credentials(scheme + token, {})["registry.fly.io"]
    sent = [authorization(scheme + token), base64_of(f"{user}:{password}")]
    assert set(sent) <= set(forms)
    hide = Redactor(not_covered(forms)).redact
    for part in token.split(","):
        if len(part) >= 8:
            assert part not in "".join(hide(f"no: {text} !") for text in (*sent, scheme + token)).replace(
                "***", "\0"
            )


@pytest.mark.parametrize("text", ["Bearer", "FlyV1 ", ",", "a", "FlyV1 fm2_a", "personal"])
def test_short_and_empty_parts_are_no_forms(text: str) -> None:
    """A scheme is no secret, and of a token of a few letters only the whole is one."""
    forms = fly_forms(text)
    assert forms[0] == text
    assert not {"Bearer", "FlyV1", "bearer", ""} & set(forms[1:])


def test_forms_of_the_others() -> None:
    """As the guest's git sends it; as a registry and the Docker engine are told it."""
    assert git_forms("ghs_a") == ["ghs_a", "Bearer ghs_a", base64_of("x-access-token:ghs_a")]
    assert login_forms("me", "p:w")[:2] == ["p:w", base64_of("me:p:w")]
    assert set(fly_forms(BOTH)) - {BOTH} < set(login_forms("x", BOTH))
    assert [forms_of(name, "a b")[0] for name in SECRET_INPUTS] == ["a b"] * 5


def test_what_covers_what() -> None:
    """The parts of a token hide it; a password that JSON writes otherwise does not hide Docker's header."""
    assert sorted(not_covered(fly_forms(f"FlyV1 {BOTH}"))) == sorted([FIRST, SECOND])
    assert not_covered(["short", "a short one"]) == ["short", "a short one"]
    odd = login_forms("me", 'pa"ss"wörd')
    assert not_covered(odd) == [odd[0], odd[2]]
    assert not_covered(["https://x.example/?token=abcdefgh1", "abcdefgh1"])[1:] == [
        "https://x.example/?token=abcdefgh1"
    ]


@pytest.mark.parametrize(
    ("text", "held"),
    [(FIRST, True), (f"x{SECOND}y", True), (base64_of(f"user:{FIRST}"), True), (FIRST.encode().hex(), True),
     (f"{FIRST[:20]}\n | {FIRST[20:]}", True), (f"{FIRST[:20]}\\n{FIRST[20:]}", True),
     ("\u200b".join(FIRST), True), (FIRST[:20], False), ("FlyV1 Bearer fm2_", False), ("", False)],
)  # fmt: skip
def test_which_texts_hold_one(text: str, held: bool) -> None:
    """Found is what redaction would find; a beginning, or a scheme, is nothing."""
    found = list(
        holders({"prompt": text, "other": "x"}, {"fly": fly_forms(f"FlyV1 {BOTH}"), "short": ["x", "y"]})
    )
    assert found == ([("prompt", "fly")] if held else [])


def test_all_texts() -> None:
    """Names and values, secrets revealed, JSON read."""
    value = {"a": ["b", SecretStr("c"), 1, None, ("d",)], "e": '{"f": "\\u0067"}', "h": "{no json"}
    assert all_texts(value).split("\n") == [
        "a",
        "b",
        "c",
        "d",
        "e",
        '{"f": "\\u0067"}',
        "f",
        "g",
        "h",
        "{no json",
    ]


def test_logins() -> None:
    """A registry's words without what it was sent, and what it granted to whom is told."""
    learned: list[str] = []
    logins = Logins({"r.example": ("x", BOTH), "o.example": ("me", "pa55word1")}, learned.extend)
    assert logins.basic("r.example") == "Basic " + base64_of(f"x:{BOTH}")
    assert logins.basic("p.example") == ""
    said = f"{SECOND} {base64_of('me:pa55word1')} granted-1"
    assert logins.hide(said).endswith(" granted-1")
    assert logins.granted("p.example", {"token": "granted-1"}) == "granted-1"
    assert learned == []
    assert (
        logins.granted("r.example", {"access_token": "granted-2", "refresh_token": "granted-3"})
        == "granted-2"
    )
    assert logins.granted("r.example", {"token": "personal"}) == "personal"
    assert logins.granted("r.example", {"token": "two\nlines-of-log"}) == "two\nlines-of-log"
    assert logins.granted("r.example", {"token": 7}) == ""
    assert learned == ["granted-2", "granted-3"]
    hidden = logins.hide(said + " granted-2 granted-3")
    assert not any(secret in hidden for secret in (SECOND, "granted", base64_of("me:pa55word1")[4:-4]))
