"""Fly's refusals as `FlyAPIError`: pure, code first, then the phrases that were recorded from Fly.

The catalog type says what the failure means for the user; the questions at the end (`name_taken`,
`may_have_happened`, ...) say what a caller may do next. Retrying itself is `fly`'s.
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from flaude_action.errors import FlyAPIError

if TYPE_CHECKING:
    from collections.abc import Mapping

DETAIL_MAX_CHARS = 2000

_CAPACITY_CODES = ("insufficient_capacity", "volume_placement_capacity")
_CAPACITY_PHRASES = (
    "could not find a candidate host",
    "could not reserve resource",
    "insufficient resources",
    "insufficient memory",
    "insufficient cpus",
    "no capacity",
)
_QUOTA_PHRASES = (
    "allowed quota",
    "add a payment method",
    "machine limit",
    "free trial",
    "trial account",
    "trial has ended",
    "trial organization",
)
"""Whole phrases: an app may well be named `my-trial-app`."""

_MACHINE_PATH = re.compile(r"/machines/[^/]+(?P<action>/[a-z]+)?$")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,80}")
_TAG = re.compile(r"<[^<>]*>")


def error_from(
    status: int, headers: Mapping[str, str], body: bytes | str, method: str, path: str
) -> FlyAPIError:
    """The error an answer is. `headers` with lower-case names; `body` may be anything, also empty or HTML.

    Never raises. `detail` is the server's text, at most 2000 characters; `fly_status` its `status` code.
    """
    text, fly_status = _said(body)
    return FlyAPIError(
        status,
        text or "(no text)",
        request_id=_request_id(headers.get("fly-request-id", "")),
        method=method,
        path=path,
        type=_type_of(status, fly_status, text.lower(), method, path),
        fly_status=fly_status,
        retry_after=_retry_after(headers.get("retry-after", ""), headers.get("date", "")),
    )


def unusable(status: int, headers: Mapping[str, str], why: str, method: str, path: str) -> FlyAPIError:
    """The error of a good answer that is of no use; `why` is our own words, which anyone may read."""
    return FlyAPIError(
        status,
        why,
        request_id=_request_id(headers.get("fly-request-id", "")),
        method=method,
        path=path,
        type=_type_of(status, "", "", method, path),
        details=f"Fly said HTTP {status} to {method} {path}: {why}.",
        dev="",  # that is for Fly's words
    )


def no_answer(reason: str, method: str, path: str, *, sent: bool) -> FlyAPIError:
    """The error of a call that got no answer; `sent` is False when the request cannot have reached Fly."""
    return FlyAPIError(0, reason, method=method, path=path, meta={"request_sent": sent})


def may_have_happened(error: FlyAPIError) -> bool:
    """True when the request may have been carried out although it failed: look before doing it again."""
    if error.status_code == 0:
        return bool(error.meta.get("request_sent", True))
    return error.status_code < 400 or error.status_code == 408 or error.status_code >= 500


def name_taken(error: FlyAPIError) -> bool:
    """True when a machine (409) or an app (422) of that name exists."""
    if error.fly_status == "name_taken":
        return True
    said = error.detail.lower()
    return error.status_code in (409, 422) and any(
        phrase in said for phrase in ("already_exists", "already exists", "already been taken")
    )


def may_pass(error: FlyAPIError) -> bool:
    """True for trouble that is no refusal: no answer, none with any sense, too slow, too many requests, Fly's
    own failure.
    """
    return error.status_code < 400 or error.status_code in (408, 429) or error.status_code >= 500


def _type_of(status: int, code: str, said: str, method: str, path: str) -> str:
    if path.startswith("/api/"):
        return "log_stream_lost"
    if status == 429 and method == "POST" and path.endswith("/machines"):
        return "machine_quota_exceeded"
    if code in _CAPACITY_CODES or (status in (400, 409, 412, 422, 503) and _has(said, _CAPACITY_PHRASES)):
        return "machine_capacity"
    if status == 429 or status >= 500:
        return "machine_api_unavailable"
    if status == 402 or (status in (403, 422) and _has(said, _QUOTA_PHRASES)):
        return "machine_quota_exceeded"
    machine = _MACHINE_PATH.search(path)
    if machine and machine["action"] == "/exec" and status in (400, 401, 403, 405, 422):
        return "machine_exec_refused"
    if status in (401, 403):
        return "machine_auth_failed"
    if status == 404:
        return _missing(machine, said)
    creates = method == "POST" and path.endswith(("/machines", "/apps"))
    if creates and status in (400, 409, 412, 422):
        return "machine_create_rejected"
    return "machine_api_unavailable"


def _missing(machine: re.Match[str] | None, said: str) -> str:
    if machine and machine["action"] == "/exec" and "page not found" in said:
        return "machine_exec_refused"
    if machine and "could not find app" not in said:
        return "machine_lost"
    return "app_not_found"


def _has(said: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in said for phrase in phrases)


def _said(body: bytes | str) -> tuple[str, str]:
    """The text and the `status` code of an error body: `{error}`, `{status, message}`, plain text or HTML."""
    text = body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else body
    try:
        raw: Any = json.loads(text)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        plain = _TAG.sub(" ", text[: 8 * DETAIL_MAX_CHARS]) if raw is None else text
        return _clean(plain), ""
    # fly-go prefers `message`, which lease conflicts have instead of `error`.
    words = [raw[key] for key in ("message", "error") if isinstance(raw.get(key), str) and raw[key]]
    code = raw.get("status")
    return _clean(words[0] if words else text), _clean(code) if isinstance(code, str) else ""


def _clean(text: str) -> str:
    """One line of printable text; what no terminal should see is escaped."""
    line = " ".join(text[: 8 * DETAIL_MAX_CHARS].split())
    printable = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line
    )
    return printable[:DETAIL_MAX_CHARS]


def _request_id(header: str) -> str:
    return header if _REQUEST_ID.fullmatch(header) else ""


def _retry_after(header: str, date: str) -> float | None:
    """Seconds of a Retry-After, which may also be a date; dates are measured against the answer's own Date.

    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", header):
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - parsedate_to_datetime(date)).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
