"""The referee itself: what was seen of Fly fits its document as we close it, and mistakes do not."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.openapi import response_errors

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"
MACHINES = "/v1/apps/a/machines"
MACHINE = f"{MACHINES}/1857156b526dd8"


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", MACHINES, "docs-create-machine-created"),
        ("GET", MACHINE, "laravel-get-machine-MonitorEvent"),
        ("GET", f"{MACHINE}/events", "ampbase-events-destroyed-never-exited"),
        ("GET", f"{MACHINE}/events", "ampbase-events-monitor-nesting"),
        ("GET", f"{MACHINE}/events", "ampbase-events-oom137"),
        ("GET", f"{MACHINE}/events", "uckele-events-exit0-explicit-zeros"),
        ("GET", f"{MACHINE}/metadata", "docs-metadata-get"),
        ("GET", f"{MACHINE}/wait", "docs-ok-true"),
        ("DELETE", MACHINE, "docs-ok-true"),
        ("POST", f"{MACHINE}/stop", "docs-ok-true"),
        ("POST", f"{MACHINE}/start", "docs-start-response"),
        ("GET", "/v1/apps/a", "docs-get-app-200"),
        ("GET", "/api/v1/apps/a/logs", "insforge-logs-page"),
    ],
)
def test_recorded_answers_fit(method: str, path: str, name: str) -> None:
    """Payloads that were recorded from Fly are what the document says."""
    assert response_errors(method, path, 200, recorded(name)) == []


@pytest.mark.parametrize("row", recorded("error-bodies"), ids=lambda row: f"{row['status']}-{row['on']}")
def test_recorded_errors_fit(row: dict[str, Any]) -> None:
    """So are the recorded error bodies, whatever their status."""
    assert response_errors("POST", MACHINES, row["status"] or 412, row["body"]) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("POST", MACHINES, 201, {"id": "1"}),
        ("POST", MACHINES, 200, {"id": 1}),
        ("POST", MACHINES, 200, {"id": "1", "exit_code": 0}),
        ("GET", MACHINE, 200, {"id": "1", "events": [{"timestamp": "2026-11-21T10:00:00Z"}]}),
        ("GET", f"{MACHINE}/events", 200, {"events": []}),
        ("DELETE", MACHINE, 200, None),
        ("DELETE", MACHINE, 200, {"ok": False}),
        ("GET", MACHINE, 404, {"message": 1}),
        ("GET", MACHINE, 404, {"error": "x", "code": "not_found"}),
        ("POST", MACHINES, 422, {"error": "x", "status": "no_capacity"}),
        ("POST", f"{MACHINE}/exec", 200, {"stdout": "", "exitCode": 0}),
        ("GET", f"{MACHINE}/logs", 200, []),
        ("GET", "/api/v1/apps/a/logs", 200, {"data": []}),
        ("GET", "/api/v1/apps/a/logs", 200, {"data": [{"attributes": {"message": "x"}}], "meta": {}}),
    ],
)
def test_wrong_answers_do_not(method: str, path: str, status: int, body: object) -> None:
    """An answer Fly would not give is found out."""
    assert response_errors(method, path, status, body) != []
