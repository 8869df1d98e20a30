"""Error bodies that Fly was seen to answer with (`tests/reference/fly-fixtures`)."""

import json
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"
RECORDED: list[dict[str, Any]] = json.loads((FIXTURES / "error-bodies.json").read_text())


def recorded(status: int, begins: str) -> dict[str, Any]:
    """The one recorded error body with that status that begins so."""
    [body] = [
        row["body"]
        for row in RECORDED
        if row["status"] == status and str(row["body"].get("error", "")).startswith(begins)
    ]
    found: dict[str, Any] = body
    return found
