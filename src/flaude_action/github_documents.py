"""What we read of GitHub's documents, in an event's payload and in the API's answers alike.

Only the few members that are used, and nothing is believed about the rest: a document of another shape tells
nothing. Which commit follows from them is `event`'s; asking the API is `github`'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAYLOAD_BYTES = 32 * 1024 * 1024
"""GitHub cuts webhook payloads at 25 MB."""


@dataclass(frozen=True)
class Branch:
    """One side of a pull request; `repository` is empty once a fork has been deleted."""

    sha: str
    repository: str


@dataclass(frozen=True)
class Pull:
    """What we read of a pull request, in payloads and in the answer of `GET /repos/{}/pulls/{}`."""

    number: int
    head: Branch
    base: Branch

    @classmethod
    def read(cls, document: Any) -> Pull | None:
        """None when it is not a pull request."""
        number = at(document, "number")
        if not isinstance(number, int):
            return None
        head, base = (
            Branch(text_at(document, side, "sha"), text_at(document, side, "repo", "full_name"))
            for side in ("head", "base")
        )
        return cls(number, head, base)

    @property
    def is_fork(self) -> bool:
        """Whether the head lies in another repository; a deleted one was another."""
        return self.head.repository != self.base.repository


@dataclass(frozen=True)
class Repository:
    """What we read of a repository, in payloads and in the answer of `GET /repos/{}`.

    `private` is also true of one that is internal to an enterprise.
    """

    private: bool
    default_branch: str

    @classmethod
    def read(cls, document: Any) -> Repository | None:
        """None when it does not tell."""
        private = at(document, "private")
        return cls(private, text_at(document, "default_branch")) if isinstance(private, bool) else None


def read_payload(path: str) -> dict[str, Any]:
    """The payload; one that is absent, too large or no JSON object is empty."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(PAYLOAD_BYTES + 1)
        document = json.loads(data) if len(data) <= PAYLOAD_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def at(document: Any, *path: str) -> Any:
    """The member at a path; None where anything is missing or of another shape."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def text_at(document: Any, *path: str) -> str:
    found = at(document, *path)
    return found if isinstance(found, str) else ""
