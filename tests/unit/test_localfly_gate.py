"""localfly.gate: who is let in, and what every answer bears."""

import json
import re
from pathlib import Path

import pytest
from tests.support.fly_inside import fly_inside

from localfly.gate import split_authorization

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"
LOGS = "/api/v1/apps/local/logs"


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("", ("", "")),
        ("FlyV1 fm2_a,fm2_b", ("FlyV1", "fm2_a,fm2_b")),
        ("Bearer FlyV1 fm2_a", ("Bearer", "fm2_a")),
        ("Bearer fo1_x", ("Bearer", "fo1_x")),
        ("fm2_bare", ("", "fm2_bare")),
    ],
)
def test_a_token_is_told_from_its_scheme(header: str, parts: tuple[str, str]) -> None:
    """Fly's own examples put two schemes before one token."""
    assert split_authorization(header) == parts


async def test_strangers_get_the_recorded_401(tmp_path: Path) -> None:
    """No token, or one that is not in the list."""
    sample = json.loads((FIXTURES / "clutterfly-401.json").read_text())
    async with fly_inside(tmp_path, tokens=["fm2_right"]) as fly:
        for header in ("", "FlyV1 fm2_wrong"):
            answer = await fly.call("GET", "/machines", headers={"Authorization": header})
            assert (answer.status_code, answer.json()) == (sample["status"], sample["body"])
        right = await fly.call("GET", "/machines", headers={"Authorization": "Bearer FlyV1 fm2_right"})
        assert right.status_code == 200


async def test_every_answer_has_a_request_id(tmp_path: Path) -> None:
    """A ULID and a region, also on errors; the trace headers are the recorded ones."""
    sample = json.loads((FIXTURES / "clutterfly-401.json").read_text())
    names = {name for name in sample["headers"] if name.startswith("fly-") or name in ("server", "via")}
    async with fly_inside(tmp_path) as fly:
        for path in ("/v1/apps/local", "/v1/apps/none", "/v1/nothing", "/nothing"):
            answer = await fly.http.get(path)
            assert names <= set(answer.headers), path
            assert re.fullmatch(r"[0-9A-Z]{26}-iad", answer.headers["fly-request-id"])


async def test_unknown_routes_are_plain_text(tmp_path: Path) -> None:
    """So a client must not expect JSON; a known path with a wrong method has no body at all."""
    async with fly_inside(tmp_path) as fly:
        machine = (await fly.create())["id"]
        for path in ("/v1/nothing", f"/v1/apps/local/machines/{machine}/logs"):
            answer = await fly.http.get(path)
            assert (answer.status_code, answer.text) == (404, "404 page not found\n")
            assert answer.headers["content-type"].startswith("text/plain")
        wrong = await fly.call("PUT", f"/machines/{machine}", {})
        assert (wrong.status_code, wrong.content) == (405, b"")


async def test_writes_set_the_affinity_cookie(tmp_path: Path) -> None:
    """For the app's path only; reads do not, and a setting takes it away."""
    async with fly_inside(tmp_path) as fly:
        assert "set-cookie" not in (await fly.call("GET", "/machines")).headers
        created = await fly.call("POST", "/machines", {"config": {"image": "i:1"}})
        assert re.fullmatch(r"fly_flaps_affinity=\w+; Path=/v1/apps/local", created.headers["set-cookie"])
        fly.fly.settings.flaps_affinity = False
        created = await fly.call("POST", "/machines", {"config": {"image": "i:1"}})
        assert "set-cookie" not in created.headers


@pytest.mark.parametrize(
    ("header", "status"),
    [("FlyV1 fm2_a", 200), ("Bearer fm2_a", 401), ("Bearer FlyV1 fm2_a", 401), ("Bearer oauth", 200)],
)
async def test_the_logs_host_wants_macaroons_as_flyv1(tmp_path: Path, header: str, status: int) -> None:
    """Bearer is for user tokens there; the Machines API is not so strict."""
    async with fly_inside(tmp_path) as fly:
        assert (await fly.http.get(LOGS, headers={"Authorization": header})).status_code == status
        assert (await fly.call("GET", "/machines", headers={"Authorization": header})).status_code == 200


async def test_a_token_may_be_refused_the_logs_alone(tmp_path: Path) -> None:
    """As deploy tokens have met: 401 on the logs host, everything else works."""
    async with fly_inside(tmp_path, logs_readable=False) as fly:
        assert (await fly.http.get(LOGS)).status_code == 401
        assert (await fly.call("GET", "/machines")).status_code == 200


async def test_too_many_requests_get_429(tmp_path: Path) -> None:
    """With the recorded text, once the burst is used up."""
    async with fly_inside(tmp_path, rate_limits=True) as fly:
        statuses = [(await fly.call("GET", "/machines")).status_code for _ in range(5)]
        assert statuses[:3] == [200] * 3
        assert statuses[-1] == 429
        assert (await fly.call("GET", "/machines")).json() == {"error": "rate limit exceeded"}
