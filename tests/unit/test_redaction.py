"""Secrets are taken out of text in every form they take."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaude_action import redaction, words
from flaude_action.env_credentials import credential_parts
from flaude_action.json_document import MARKS_MAX
from flaude_action.redaction import MASK, Redactor, bared
from flaude_action.secret_forms import forms
from flaude_action.untrusted import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True, scope="module", params=[None, 1], ids=["few", "as if many"])
def _many(request: pytest.FixtureRequest) -> Iterator[None]:
    """Few forms and many are looked for in other ways: all that is said here holds for both."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(redaction, "MANY_WORDS", request.param)
            patch.setattr(words, "MANY_HEADS", request.param)
        yield


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
    "hex": SECRET.encode().hex(),
    "hex with colons": SECRET.encode().hex(":"),
    "hex with colons, upper case": SECRET.encode().hex(":").upper(),
    "a shell's escapes": "".join(f"\\x{byte:02x}" for byte in SECRET.encode()),
    "a shell's escapes, upper case": "".join(f"\\x{byte:02X}" for byte in SECRET.encode()),
    "HTML by numbers": "".join(f"&#{ord(char)};" for char in SECRET),
    "every byte of a URL": "".join(f"%{byte:02X}" for byte in SECRET.encode()),
    "every byte of a URL, lower case": "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    "JSON escapes": "".join(f"\\u{ord(char):04x}" for char in SECRET),
    "JSON escapes, upper case": "".join(f"\\u{ord(char):04X}" for char in SECRET),
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


WRAPPED = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("x 01234\n56789\nabcdef y\nz", f"x {MASK}\n{MASK}\n{MASK} y\nz"),
        ("| x 0123456\r\n  | 789abcdef", f"| x {MASK}\r\n{MASK}"),
        ("012 345 678 9ab cde f.", f"{MASK}."),
        ("  ! 01234567\n\n  ! 89abcdef", f"  ! {MASK}\n{MASK}\n{MASK}"),
        ("MDEyMzQ1Njc4\nOWFiY2RlZg==", f"{MASK}\n{MASK}Zg=="),
    ],
)
def test_wrapped_secrets(text: str, redacted: str) -> None:
    """A secret that was wrapped over the ends of lines, or has white space strewn in, is found."""
    assert Redactor([WRAPPED]).redact(text) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("x 012345678", f"x {MASK}"),
        ("x 012345678 \ny", f"x {MASK} \ny"),
        ("012345678... y", f"{MASK}... y"),
        ("012345678 … [9 more characters]", f"{MASK} … [9 more characters]"),
        ("012345678 ...", f"{MASK} ..."),
        ("0123456789abcde\r\n0123456789", f"{MASK}\r\n{MASK}"),
        ("MDEyMzQ1Njc4", MASK),
        ("0123456", "0123456"),
        ("0123456789 y", "0123456789 y"),
        ("0123456789x", "0123456789x"),
        ("456789abcdef", "456789abcdef"),
    ],
)
def test_a_secret_that_was_cut(text: str, redacted: str) -> None:
    """Its beginning at the end of a line, or before the dots that tell of a cut, is nearly all of it."""
    redactor = Redactor([WRAPPED])
    assert redactor.redact(text) == redacted
    assert redactor.redact_page(text.splitlines(), "")[0] == redacted.splitlines()
    line = json.dumps({"text": text}) + "\n"
    assert json.loads(redactor.redact_json_line(line)) == {"text": redacted}


HIDERS = ["\u200b", "\x1b[0m", "\x1b]0;t\x07", "\x00", "\u2066", "\ufe0f", "\udc80"]


@pytest.mark.parametrize("hider", HIDERS, ids=ascii)
@pytest.mark.parametrize("secret", [WRAPPED, "word", "a \u200b secret"], ids=ascii)
def test_what_cannot_be_seen_hides_no_secret(secret: str, hider: str) -> None:
    """Invisible characters go when text is shown, and a secret they were strewn into would be whole again."""
    text = f"<{hider}{hider.join(secret)}>"
    assert visible(Redactor([secret]).redact(text)) == f"<{MASK}>"
    line = json.dumps({"text": text}) + "\n"
    assert json.loads(Redactor([secret]).redact_json_line(line)) == {"text": f"<{MASK}>"}


def test_what_cannot_be_seen_stays_where_it_hides_nothing() -> None:
    """Text without a secret is handed on as it is: emoji are made of invisible characters too."""
    text = "\u2764\ufe0f \x1b[31mred\x1b[0m"
    assert Redactor([WRAPPED]).redact(text) == text
    line = json.dumps({"text": text}) + "\n"
    assert Redactor([WRAPPED]).redact_json_line(line) == line


@given(st.text("0123456789abcdef \n|xyz", max_size=60), st.integers(1, 30))
def test_a_page_at_a_time(text: str, size: int) -> None:
    """However a log is cut into pages, a secret that begins in one and ends in another is hidden in both."""
    lines = (text + "\n" + WRAPPED[:9] + "\n" + WRAPPED[9:]).split("\n")
    redactor, before, shown = Redactor([WRAPPED]), "", []
    for start in range(0, len(lines), size):
        page, before = redactor.redact_page(lines[start : start + size], before)
        shown += page
    assert WRAPPED not in bared("".join(shown))
    assert WRAPPED[9:] not in shown[-1]
    assert len(shown) == len(lines)


def test_the_first_part_is_hidden_before_the_second_comes() -> None:
    """At the end of a page, what may be the beginning of a secret is not shown on trust."""
    redactor = Redactor([WRAPPED])
    page, before = redactor.redact_page(["a", WRAPPED[:12]], "")
    assert page == ["a", MASK]
    assert redactor.redact_page([WRAPPED[12:] + " b"], before)[0] == [f"{MASK} b"]
    assert Redactor().redact_page(["a", "b"], "") == (["a", "b"], "")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"x {WRAPPED}", f"x {MASK}"),
        (f"1\t{WRAPPED[:6]}\n{WRAPPED[6:]}", f"1\t{MASK}\n{MASK}"),
        ("nothing", "nothing"),
    ],
)
def test_json_lines(text: str, redacted: str) -> None:
    """In a line of JSON a wrapped secret is found although the line's end is two characters there."""
    line = json.dumps({"text": [text]}) + "\n"
    assert json.loads(Redactor([WRAPPED]).redact_json_line(line)) == {"text": [redacted]}


def test_broken_json_lines() -> None:
    """A line that only looks like JSON and holds a wrapped secret is hidden whole."""
    assert Redactor([WRAPPED]).redact_json_line(WRAPPED[:6] + "\\n" + WRAPPED[6:] + "\n") == MASK + "\n"


def test_json_lines_of_very_many_values() -> None:
    """So is one that would keep Python from all else while it is read."""
    wrapped = json.dumps(WRAPPED[:6] + "\n" + WRAPPED[6:])
    most = (MARKS_MAX - 1) // 2
    line = "[" + "[]," * most + wrapped + "]\n"
    assert json.loads(Redactor([WRAPPED]).redact_json_line(line)) == [[]] * most + [f"{MASK}\n{MASK}"]
    assert Redactor([WRAPPED]).redact_json_line(line.replace("[],", "[],[],", 1)) == MASK + "\n"


KEY = "".join(random.Random(5).choices("ABCDEFabcdef0123456789+/", k=64))
GCP = json.dumps(
    {
        "type": "service_account",
        "project_id": "shop-123456",
        "private_key": f"-----BEGIN PRIVATE KEY-----\n{KEY}\n{KEY[::-1]}\n-----END PRIVATE KEY-----\n",
        "client_email": "deploy@shop-123456.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
    },
    indent=2,
)
SSH = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
    f"{KEY}\n-----END OPENSSH PRIVATE KEY-----\n"
)


@pytest.mark.parametrize("secret", [GCP, SSH], ids=["a service account", "an SSH key"])
def test_what_proves_that_a_secret_of_several_lines_stands_somewhere(secret: str) -> None:
    """The whole, or its own words; what is in every such file proves nothing, and is hidden all the same."""
    proof = Redactor([secret, *credential_parts(secret)], lines=False)
    assert proof.found_in(f"x {secret} y")
    assert proof.found_in(f"key = '{KEY}'")
    assert proof.found_in(base64.b64encode(secret.encode()).decode())
    public = [line for line in secret.splitlines() if KEY not in line]
    assert not proof.found_in("\n\n--\n".join(public))
    assert Redactor([secret]).redact(public[1]).strip() == MASK


OWN_WORDS = "aB3dE5gH7jK9mN1pQ3sTuV", "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "q1w2e3r4t5y6u7i8o9p0lkjh"
PUBLIC_WORDS = (
    "6f3c1c5e-8d0b-4f6e-9a53-0c7a1d2e4b58",
    "//registry.npmjs.org/:_authToken=",
    "shop-123456-deploy-account",
    "AWS_SECRET_ACCESS_KEY_2=",
    "11111111111111111111111a",
    "12345678901234567890123",
    "averylongwordofsmallletters",
    "https://login.microsoftonline.com/Common2/",
)


@pytest.mark.parametrize("value", OWN_WORDS)
@pytest.mark.parametrize("line", ["{}", "KEY={}", "export TOKEN_OF_MINE2='{}'", '  "key": "{}",', "key: {}"])
def test_words_that_prove_something(line: str, value: str) -> None:
    """A value of a file of settings does without its name; letters of one case do, with digits among them."""
    proof = Redactor(credential_parts(f"# settings\n{line.format(value)}\nother: x\n"), lines=False)
    assert proof.found_in(f"token = {value}")
    assert proof.found_in(base64.b64encode(f"x{value}".encode()).decode())


@pytest.mark.parametrize("value", PUBLIC_WORDS)
def test_words_that_prove_nothing(value: str) -> None:
    """Nor do names, hosts, and the identifiers that stand beside a secret in many a file."""
    proof = Redactor(credential_parts(f"# settings\nnote={value}\nother: x\n"), lines=False)
    assert not proof.found_in(f"token = {value}")


@pytest.mark.parametrize("encode", [base64.b64encode, bytes.hex])
def test_a_line_of_a_secret_is_hidden_in_every_form(encode: Callable[[bytes], Any]) -> None:
    """Somebody may have encoded one of them alone."""
    told = encode(KEY.encode())
    assert Redactor([SSH]).redact(told.decode() if isinstance(told, bytes) else told).startswith(MASK)
    assert KEY[:20] not in Redactor([SSH]).redact(KEY)


@pytest.mark.parametrize("length", [2047, 2048, 4095, 4096, 5000, 65_536])
def test_a_long_secret_is_hidden_whole(length: int) -> None:
    """Though it is known by its pieces, also where it begins in one page and ends in another."""
    secret = "".join(random.Random(length).choices("ABCDEFabcdef0123456789", k=length))
    redactor = Redactor([secret])
    assert set(redactor.redact(f"<{secret}>")) == {"<", ">", "*"}
    assert set(redactor.redact(secret.encode().hex())) == {"*"}
    assert redactor.found_in(secret)
    assert not redactor.found_in(secret[:1000])
    pages = [redactor.redact_page([secret[: length // 2]], "")]
    pages.append(redactor.redact_page([secret[length // 2 :]], pages[0][1]))
    assert set("".join(lines[0] for lines, _ in pages)) == {"*"}


def test_json_values() -> None:
    """In a JSON value only texts change, so that it stays JSON: a number that is a secret stays a number."""
    redactor = Redactor(["123456"])
    value = {"123456": ["x123456", 123456, None, True, {"a": ("123456",)}]}
    assert redactor.redact_json(value) == {MASK: [f"x{MASK}", 123456, None, True, {"a": [MASK]}]}


def beginnings(form: str) -> set[str]:
    return {form[:size] for size in range(8, len(form))}


def searched(text: str, secret: str) -> list[str]:
    """In the slowest way: the forms that are in a text, and the beginnings that stand before a cut in it."""
    bare = bared(text.replace(MASK, "<"))
    whole = [form for form in map(bared, forms(secret)) if len(form) >= 8 and form in bare]
    ends = [bared(text[: cut.start()].replace(MASK, "<")) for cut in re.finditer(r"\n|$|…|\.\.\.", text)]
    starts = {start for form in forms(secret) for start in beginnings(bared(form))}
    cut = [start for start in starts for end in ends if end.endswith(start)]
    return whole + cut


def test_very_many_lines() -> None:
    """Each of a thousand is hidden: also those that begin alike, that begin another, and that are cut."""
    rng = random.Random(3)
    lines = [f"export KEY_{number}={rng.random()}" for number in range(400)]
    lines += [f"é\udc80{rng.random()} {number}|xy" for number in range(200)]
    lines += [line + "-and-more" for line in lines[:400]]
    redactor = Redactor(["\n".join(lines)])
    assert set("\n".join(redactor.redact_page(lines, "")[0])) == {"*", "\n"}
    cut = [f"x {line[:-1]}... y {line} z" for line in lines[400:600]]
    assert set(redactor.redact_page(cut, "")[0]) == {f"x {MASK}... y {MASK} z"}
    redactor.add(["one-more-secret"])
    assert redactor.redact(f"a one-more-secret {lines[7]}") == f"a {MASK} {MASK}"
    others = [line[:7] + line for line in lines[:400]]
    assert redactor.redact_page(others, "")[0] == [line[:7] + MASK for line in lines[:400]]


PIECES = ["ab", "abab", "abc", "ba", "c", "a", " ", "\n", "|", "...", "…", ".", "x", "YWJh", "6162", "\u200b"]
STRANGE = [
    "abababab",
    "ababababc",
    "abcabcabca",
    "aaaaaaaaaa",
    "ab ab|ab!ab>ab",
    "abab...ababab",
    "abab…abab…ab",
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(STRANGE), st.lists(st.sampled_from(PIECES), max_size=30), st.integers(0, 14))
def test_nothing_of_a_secret_is_left(secret: str, pieces: list[str], size: int) -> None:
    """Nor of its beginning, of 8 characters or more, where the text was cut: also where a secret repeats
    itself, where it holds dots, and where it lies within another."""
    text = "".join(pieces) + secret[:size]
    for redacted in (
        Redactor([secret]).redact(text),
        "\n".join(Redactor([secret]).redact_page(text.split("\n"), "")[0]),
    ):
        assert not searched(redacted, secret)
        assert redacted.count("\n") == text.count("\n")
        if not searched(visible(text), secret):
            assert redacted == text


TOKEN = "sk-ant-" + "0123456789" * 4


@pytest.mark.parametrize(
    "piece",
    ["aa ", "|", "a\n", "a\u200b", "\x1b[m", "word ", "sk-ant-o...", TOKEN],
)
def test_memory_is_bounded(piece: str) -> None:
    """A text takes a few times its own size, not many times: no object for each of its words."""
    text = piece * (256 * 1024 // len(piece))
    redactor = Redactor([TOKEN, "word"])
    tracemalloc.start()
    try:
        redactor.redact(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * sys.getsizeof(text)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_found(form: str) -> None:
    """What is redacted is found: in every form, wrapped over lines too."""
    redactor = Redactor([SECRET])
    middle = len(form) // 2
    assert redactor.found_in(f"a {form} b")
    assert redactor.found_in(f"a {form[:middle]}\n  {form[middle:]} b")
    assert not redactor.found_in(f"a {form[:middle]} b")


@pytest.mark.parametrize(
    ("secret", "text", "found"),
    [
        ("abcd", "abcd", False),
        ("hunter2", "hunter2", False),
        ("hunter22", "hunter22", True),
        ("postgres", "postgres://postgres@localhost", False),
        ("postgres", "cG9zdGdyZXM6cG9zdGdyZXM=", True),
        ("correcthorsebatterystaple", "correcthorsebatterystaple", True),
        (WRAPPED, "\u200b".join(WRAPPED), True),
        (WRAPPED, "\\n".join((WRAPPED[:7], WRAPPED[7:])), True),
        (WRAPPED, WRAPPED[:-1], False),
        (WRAPPED, "", False),
    ],
)
def test_what_proves_nothing(secret: str, text: str, found: bool) -> None:
    """A few characters, or a plain word, stand in many a text by themselves; their encoded forms do not."""
    assert Redactor([secret]).found_in(text) is found
