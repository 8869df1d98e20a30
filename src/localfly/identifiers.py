"""The names Fly gives to things: ULIDs, machine ids, machine names, addresses, request ids."""

from __future__ import annotations

import os
import re
import secrets
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ADJECTIVES: Final = ("aged", "bold", "cold", "dark", "empty", "lingering", "misty", "quiet", "red", "wild")
_NOUNS: Final = ("bird", "brook", "cloud", "dawn", "forest", "leaf", "moon", "paper", "river", "thunder")
_MACHINE_ID: Final = re.compile(r"^[0-9a-f]{14}$")
APP_NAME: Final = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")


def ulid_source(clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> Callable[[], str]:
    """A function that gives 26-character ULIDs (https://github.com/ulid/spec), each greater than the last."""
    last = 0

    def ulid() -> str:
        nonlocal last
        number = (clock_ms() << 80) | int.from_bytes(os.urandom(10), "big")
        last = number if number > last else last + 1
        digits = []
        rest = last
        for _ in range(26):
            rest, digit = divmod(rest, 32)
            digits.append(_CROCKFORD[digit])
        return "".join(reversed(digits))

    return ulid


ulid = ulid_source()


def machine_id() -> str:
    return secrets.token_hex(7)


def is_machine_id(text: str) -> bool:
    return _MACHINE_ID.match(text) is not None


def machine_name() -> str:
    """`adjective-noun-number`, as Fly names machines whose creator did not."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.randbelow(10_000)}"


def private_ip() -> str:
    """A 6PN address: always in fdaa::/16."""
    groups = [secrets.token_hex(2).lstrip("0") or "0" for _ in range(6)]
    return ":".join(["fdaa", "0", *groups[:5], "2"])


def request_id(region: str) -> str:
    return f"{ulid()}-{region}"
