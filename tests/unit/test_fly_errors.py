import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaude_action.catalog import CATALOG
from flaude_action.errors import FlyAPIError
from flaude_action.fly_errors import (
    DETAIL_MAX_CHARS,
    error_from,
    may_have_happened,
    may_pass,
    name_taken,
    no_answer,
)

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"
RECORDED: list[dict[str, Any]] = json.loads((FIXTURES / "error-bodies.json").read_text("utf-8"))

MACHINES = "/v1/apps/a/machines"
MACHINE = f"{MACHINES}/1857156b526dd8"

# What each recorded body means when it answers the request it was recorded on.
MEANING = {
    "Validation failed: Name has already": ("POST", "/v1/apps", "machine_create_rejected"),
    "Validation failed: Name under": ("POST", "/v1/apps", "machine_create_rejected"),
    "could not find a candidate host": ("POST", MACHINES, "machine_capacity"),
    "insufficient resources to create": ("POST", MACHINES, "machine_capacity"),
    "aborted: could not reserve resource for machine: insufficient memory":
        ("POST", f"{MACHINE}/start", "machine_capacity"),
    "aborted: could not reserve resource for machine: insufficient CPUs":
        ("POST", f"{MACHINE}/start", "machine_capacity"),
    "aborted: insufficient resources available": ("POST", MACHINES, "machine_capacity"),
    "aborted: no capacity": ("POST", MACHINES, "machine_capacity"),
    "no capacity": ("POST", MACHINES, "machine_capacity"),
    "aborted: machine update failed": ("POST", MACHINE, "machine_api_unavailable"),
    "already_exists: unique machine name": ("POST", MACHINES, "machine_create_rejected"),
    "organization \"Kilo\" is using": ("POST", MACHINES, "machine_quota_exceeded"),
    "deadline_exceeded: machine failed": ("GET", f"{MACHINE}/wait", "machine_api_unavailable"),
    "invalid_argument: invalid WaitMachine": ("GET", f"{MACHINE}/wait", "machine_api_unavailable"),
    "machine not found": ("GET", MACHINE, "machine_lost"),
    "failed_precondition: unable to start": ("POST", f"{MACHINE}/start", "machine_api_unavailable"),
    "failed_precondition: machine still active": ("POST", f"{MACHINE}/start", "machine_api_unavailable"),
    "failed_precondition: machine getting": ("POST", f"{MACHINE}/start", "machine_api_unavailable"),
    "failed_precondition: machine still att": ("POST", f"{MACHINE}/start", "machine_api_unavailable"),
    "deadline_exceeded: machine still": ("POST", f"{MACHINE}/start", "machine_api_unavailable"),
    "failed_precondition: machine not running": ("POST", f"{MACHINE}/exec", "machine_api_unavailable"),
    "machine ID 3d8d413b29d089 lease": ("DELETE", MACHINE, "machine_api_unavailable"),
    "Authenticate: token validation": ("GET", MACHINE, "machine_auth_failed"),
    "rate limit exceeded": ("POST", MACHINES, "machine_quota_exceeded"),
    "Could not find App": ("POST", MACHINES, "app_not_found"),
    "json: cannot unmarshal array": ("POST", f"{MACHINE}/stop", "machine_api_unavailable"),
    "... volume already claimed": ("POST", MACHINES, "machine_create_rejected"),
    "failed_precondition: unable to destroy": ("DELETE", MACHINE, "machine_api_unavailable"),
    "unable to destroy machine": ("DELETE", MACHINE, "machine_api_unavailable"),
}  # fmt: skip


def error(status: int, body: object = b"", method: str = "POST", path: str = MACHINES) -> FlyAPIError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from(status, {}, raw, method, path)


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: f"{row['status']}-{row['on']}")
def test_recorded_bodies(row: dict[str, Any]) -> None:
    """Every recorded refusal becomes its type, with Fly's own words and code kept."""
    text = row["body"].get("message") or row["body"]["error"]
    meanings = [meaning for start, meaning in MEANING.items() if text.startswith(start)]
    assert meanings, f"no meaning written for {text!r}"
    method, path, expected = meanings[0]
    found = error(row["status"] or 412, row["body"], method, path)
    assert found.type == expected
    assert found.detail == text
    assert found.fly_status == row["body"].get("status", "")
    assert found.status_code == (row["status"] or 412)


def test_recorded_401_with_headers() -> None:
    """The one refusal recorded with its headers gives the request id that Fly's support asks for."""
    row = json.loads((FIXTURES / "clutterfly-401.json").read_text("utf-8"))
    found = error_from(row["status"], row["headers"], json.dumps(row["body"]), "GET", MACHINES)
    assert found.request_id == "01JNRQ9VVKJ7HZFMJWJB3M3RYN-yyz"
    assert found.meta["fly_request_id"] == found.request_id
    assert found.type == "machine_auth_failed"


@pytest.mark.parametrize(
    ("status", "body", "method", "path", "expected"),
    [
        (403, {"error": "forbidden"}, "GET", MACHINE, "machine_auth_failed"),
        (401, b"", "POST", f"{MACHINE}/exec", "machine_exec_refused"),
        (403, {"error": "not allowed"}, "POST", f"{MACHINE}/exec", "machine_exec_refused"),
        (404, b"404 page not found", "POST", f"{MACHINE}/exec", "machine_exec_refused"),
        (404, {"error": "not_found: machine not found"}, "POST", f"{MACHINE}/exec", "machine_lost"),
        (404, {"error": "Could not find App"}, "GET", MACHINE, "app_not_found"),
        (404, b"", "GET", "/v1/apps/a", "app_not_found"),
        (404, b"", "GET", f"{MACHINE}/events", "machine_lost"),
        (400, {"error": "invalid config.guest.cpus"}, "POST", MACHINES, "machine_create_rejected"),
        (422, b"", "POST", MACHINES, "machine_create_rejected"),
        (422, {"error": "To create more than 1 machine per app please add a payment method."}, "POST",
         MACHINES, "machine_quota_exceeded"),
        (500, {"error": "x", "status": "insufficient_capacity"}, "POST", MACHINES, "machine_capacity"),
        (503, {"error": "aborted: no capacity"}, "POST", MACHINES, "machine_capacity"),
        (503, {"error": "busy"}, "POST", MACHINES, "machine_api_unavailable"),
        (402, {"error": "x"}, "POST", MACHINES, "machine_quota_exceeded"),
        (403, {"error": "Your organization has reached its machine limit."}, "POST", MACHINES,
         "machine_quota_exceeded"),
        (403, {"error": "Your free trial has ended"}, "POST", MACHINES, "machine_quota_exceeded"),
        (403, {"error": "unauthorized for app my-trial-app"}, "POST", MACHINES, "machine_auth_failed"),
        (403, {"error": "industrial-app: forbidden"}, "GET", MACHINE, "machine_auth_failed"),
        (502, b"<html><body>Bad gateway</body></html>", "GET", MACHINE, "machine_api_unavailable"),
        (302, b"", "GET", MACHINE, "machine_api_unavailable"),
        (401, b"", "GET", "/api/v1/apps/a/logs", "log_stream_lost"),
        (404, b"", "GET", "/api/v1/apps/a/logs", "log_stream_lost"),
    ],
)  # fmt: skip
def test_types_by_code_and_place(status: int, body: object, method: str, path: str, expected: str) -> None:
    """The same code means different things in different places."""
    assert error(status, body, method, path).type == expected


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "(no text)"),
        (b"404 page not found", "404 page not found"),
        (b"<html><head><title>503</title></head>\n<body>Try  later</body></html>", "503 Try later"),
        (b"[1, 2]", "[1, 2]"),
        (b'{"error": 7}', '{"error": 7}'),
        (b'{"error": "line\\none\\u001b[31m\\u202e"}', "line one\\x1b[31m\\u202e"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b'{"error": "\\ud800"}', "\\ud800"),
    ],
)
def test_any_body_becomes_one_printable_line(body: bytes, detail: str) -> None:
    """Empty, plain, HTML, JSON of other shapes, bytes that are no text."""
    assert error(500, body).detail == detail


def test_long_text_is_cut() -> None:
    """A server cannot fill our log with one error."""
    assert len(error(500, b"x" * 1_000_000).detail) == DETAIL_MAX_CHARS
    assert len(error(500, b"<" * 1_000_000).detail) == DETAIL_MAX_CHARS


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date, and anything else is nothing."""
    assert error_from(429, headers, b"", "GET", MACHINE).retry_after == seconds


def test_may_have_happened() -> None:
    """A doubtful create is told apart from one that certainly was not made."""
    assert may_have_happened(no_answer("ReadError: ", "POST", MACHINES, sent=True))
    assert not may_have_happened(no_answer("ConnectError: ", "POST", MACHINES, sent=False))
    statuses = (200, 400, 403, 408, 409, 422, 429, 500, 504)
    assert [status for status in statuses if may_have_happened(error(status))] == [200, 408, 500, 504]


def recorded(start: str) -> FlyAPIError:
    row = next(row for row in RECORDED if row["body"].get("error", "").startswith(start))
    return error(row["status"] or 412, row["body"])


def test_questions_about_recorded_refusals() -> None:
    """The refusals callers react to are recognised, and only those."""
    texts = [row["body"].get("error", "") for row in RECORDED if row["body"].get("error")]
    assert [text.split(",")[0] for text in texts if name_taken(recorded(text))] == [
        "Validation failed: Name has already been taken",
        "already_exists: unique machine name violation",
    ]


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        (0, True),
        (400, False),
        (401, False),
        (404, False),
        (408, True),
        (412, False),
        (429, True),
        (503, True),
    ],
)
def test_what_may_pass_by_itself(status: int, passes: bool) -> None:
    """Trouble on the way or at Fly may pass; what Fly has refused stays refused."""
    assert may_pass(FlyAPIError(status, "no")) is passes


@given(
    status=st.integers(0, 999),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "fly-request-id"]), st.text()),
    body=st.binary(max_size=300)
    | st.text(max_size=300)
    | st.from_regex(rb'\{"(error|status|message)": .*\}'),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.text(max_size=40) | st.sampled_from([MACHINES, MACHINE, f"{MACHINE}/exec", "/v1/apps"]),
)
def test_never_raises(
    status: int, headers: dict[str, str], body: bytes | str, method: str, path: str
) -> None:
    """Any answer at all becomes an error of a known type whose text can be printed."""
    found = error_from(status, headers, body, method, path)
    assert found.type in CATALOG
    assert found.detail.isprintable()
    found.request_id.encode("ascii")
