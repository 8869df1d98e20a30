"""Members of Fly's JSON read leniently: whatever was sent, a value of the right type or none.

What the members are is `fly_models`' and `fly_events`'.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def texts(value: object) -> dict[str, str]:
    return {key: one for key, one in mapping(value).items() if isinstance(one, str)}


def number(value: object) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if fits and isinstance(value, int) else None


def signal(value: object) -> int | None:
    sent = number(value)
    return sent if sent is not None and sent > 0 else None


def moment(value: object) -> float | None:
    """Milliseconds (2022) or RFC 3339 with up to nanoseconds (since), as epoch seconds."""
    if (milliseconds := number(value)) is not None:
        return milliseconds / 1000
    try:
        moment = datetime.fromisoformat(text(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def nanoseconds(timestamp: str) -> int | None:
    """Nanoseconds since 1970 of an RFC 3339 time, exactly: a float would not be."""
    found = _RFC_3339.fullmatch(timestamp)
    if not found:
        return None
    try:
        whole = datetime.fromisoformat(found[1] + found[3])
    except ValueError:
        return None
    return int(whole.timestamp()) * 1_000_000_000 + int((found[2] or "0").ljust(9, "0"))
