"""localfly.apps_api: apps, regions, the caller's token."""

import json
from pathlib import Path

from tests.support.fly_inside import fly_inside

REFERENCE = Path(__file__).parents[1] / "reference" / "fly-fixtures"


async def test_an_app_is_made_once(tmp_path: Path) -> None:
    """201, then 422 with the recorded body; both spellings of the name are taken."""
    taken = {"error": "Validation failed: Name has already been taken", "status": "name_taken"}
    async with fly_inside(tmp_path) as fly:
        made = await fly.http.post("/v1/apps", json={"name": "mine", "org_slug": "personal"})
        assert (made.status_code, made.json().keys()) == (201, {"id", "created_at"})
        again = await fly.http.post("/v1/apps", json={"app_name": "mine", "org_slug": "personal"})
        assert (again.status_code, again.json()) == (422, taken)


async def test_a_wrong_name_is_refused(tmp_path: Path) -> None:
    """In the recorded words."""
    async with fly_inside(tmp_path) as fly:
        answer = await fly.http.post("/v1/apps", json={"name": "Not_Good"})
        assert (answer.status_code, answer.json()) == (
            422,
            {"error": "Validation failed: Name under 63 chars using numbers, lowercase letters and dashes"},
        )


async def test_an_app_shows_its_machines_and_takes_them_along(tmp_path: Path) -> None:
    """Deleting it destroys them; then it is the recorded 404."""
    sample = json.loads((REFERENCE / "docs-get-app-200.json").read_text())
    async with fly_inside(tmp_path) as fly:
        machine, _ = await fly.started()
        app = (await fly.http.get("/v1/apps/local")).json()
        assert sample.keys() <= app.keys()
        assert app["machine_count"] == 1
        deleted = await fly.http.delete("/v1/apps/local")
        assert (deleted.status_code, deleted.content) == (202, b"")
        await fly.reach(machine, "destroyed")
        for answer in (await fly.http.get("/v1/apps/local"), await fly.http.delete("/v1/apps/local")):
            assert (answer.status_code, answer.json()) == (404, {"error": "Could not find App"})


async def test_apps_are_listed_by_organization(tmp_path: Path) -> None:
    """org_slug is needed."""
    async with fly_inside(tmp_path, apps=["a", "b"]) as fly:
        listed = (await fly.http.get("/v1/apps", params={"org_slug": "personal"})).json()
        assert (listed["total_apps"], [app["name"] for app in listed["apps"]]) == (2, ["a", "b"])
        assert (await fly.http.get("/v1/apps")).status_code == 400


async def test_regions_are_those_of_the_settings(tmp_path: Path) -> None:
    """With the nearest one named."""
    async with fly_inside(tmp_path, regions=["fra", "iad"]) as fly:
        regions = (await fly.http.get("/v1/platform/regions")).json()
        assert (regions["nearest"], [row["code"] for row in regions["regions"]]) == ("iad", ["fra", "iad"])


async def test_the_caller_s_token_is_of_one_kind(tmp_path: Path) -> None:
    """A deploy token names its apps, an organisation's does not."""
    async with fly_inside(tmp_path) as fly:
        assert (await fly.http.get("/v1/tokens/current")).json()["tokens"][0]["apps"] == ["local"]
        fly.fly.settings.caller = "org"
        assert "apps" not in (await fly.http.get("/v1/tokens/current")).json()["tokens"][0]
