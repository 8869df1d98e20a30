"""localfly.logs_api: pages, cursors, and their weaknesses."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.fly_inside import Inside, fly_inside

from localfly.log_store import now_ns

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"


async def page(fly: Inside, **query: str) -> dict[str, Any]:
    answer = await fly.http.get("/api/v1/apps/local/logs", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def messages(found: dict[str, Any]) -> list[str]:
    return [entry["attributes"]["message"] for entry in found["data"]]


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


async def test_a_page_has_the_recorded_members(tmp_path: Path) -> None:
    """Every member of the recorded entry is in ours."""
    sample = json.loads((FIXTURES / "insforge-logs-page.json").read_text())
    async with fly_inside(tmp_path) as fly:
        machine, workload = await fly.started()
        workload.say("hello from container")
        found = await page(fly, instance=machine)
        assert found.keys() == sample.keys()
        assert sample["data"][0]["attributes"].keys() <= found["data"][-1]["attributes"].keys()
        attributes = found["data"][-1]["attributes"]
        assert (attributes["message"], attributes["instance"]) == ("hello from container", machine)
        assert attributes["meta"]["event"]["provider"] == "app"
        assert found["data"][0]["attributes"]["meta"]["event"]["provider"] == "runner"


async def test_without_a_cursor_the_newest_hundred_lines_come(tmp_path: Path) -> None:
    """And the cursor of that page leads to what is written next."""
    async with fly_inside(tmp_path, platform_lines=False) as fly:
        machine, workload = await fly.started()
        workload.say(*numbers(1, 250))
        first = await page(fly, instance=machine)
        assert messages(first) == numbers(151, 250)
        workload.say("more")
        assert messages(await page(fly, instance=machine, next_token=first["meta"]["next_token"])) == ["more"]


async def test_a_cursor_may_be_made_up_from_a_time(tmp_path: Path) -> None:
    """From a time before the first line, pages of a hundred lead through all of them."""
    async with fly_inside(tmp_path, platform_lines=False) as fly:
        machine, workload = await fly.started()
        token, seen = str(now_ns()), []
        workload.say(*numbers(1, 250))
        sizes = []
        while (found := await page(fly, instance=machine, next_token=token))["data"]:
            seen += messages(found)
            sizes.append(len(found["data"]))
            token = found["meta"]["next_token"]
        assert (seen, sizes) == (numbers(1, 250), [100, 100, 50])


async def test_machines_and_regions_are_told_apart(tmp_path: Path) -> None:
    """Without `instance` the app's lines come merged by time."""
    async with fly_inside(tmp_path, platform_lines=False) as fly:
        one, workload = await fly.started()
        other = (await fly.create(region="fra"))["id"]
        await fly.reach(other, "started")
        workload.say("a")
        fly.backend.started[-1].say("b")
        workload.say("c")
        assert messages(await page(fly)) == ["a", "b", "c"]
        assert messages(await page(fly, next_token="1")) == ["a", "b", "c"]
        assert messages(await page(fly, instance=one)) == ["a", "c"]
        assert messages(await page(fly, region="fra")) == ["b"]


async def test_the_cursor_is_text_or_number(tmp_path: Path) -> None:
    """Both were seen; as a number it is larger than a double can hold exactly."""
    async with fly_inside(tmp_path) as fly:
        await fly.started()
        assert isinstance((await page(fly))["meta"]["next_token"], str)
        fly.fly.settings.log_cursor_form = "number"
        assert (await page(fly))["meta"]["next_token"] > 2**53


async def test_an_empty_page_has_no_cursor_or_the_old_one(tmp_path: Path) -> None:
    """Readers keep the last one they had."""
    async with fly_inside(tmp_path) as fly:
        token = str(now_ns())
        assert (await page(fly, next_token=token))["meta"] == {}
        fly.fly.settings.log_cursor_when_empty = "repeated"
        assert (await page(fly, next_token=token))["meta"] == {"next_token": token}


@pytest.mark.parametrize(("boundary", "again"), [("after", []), ("repeat", ["3"])])
async def test_the_boundary_line_may_come_twice(tmp_path: Path, boundary: str, again: list[str]) -> None:
    """What bears exactly the cursor's time is past, or comes again."""
    async with fly_inside(tmp_path, platform_lines=False, log_boundary=boundary) as fly:
        machine, workload = await fly.started()
        workload.say(*numbers(1, 3))
        first = await page(fly, instance=machine)
        assert messages(await page(fly, next_token=first["meta"]["next_token"])) == again


async def test_lines_that_share_the_boundary_time_are_lost(tmp_path: Path) -> None:
    """The weakness of a time as cursor: with coarse times, a page that ends among equals loses the rest."""
    step_ns = 3_600 * 10**9
    async with fly_inside(tmp_path, platform_lines=False, log_timestamp_step_ns=step_ns) as fly:
        machine, workload = await fly.started()
        workload.say(*numbers(1, 150))
        first = await page(fly, instance=machine, next_token="1")
        assert len(first["data"]) == 100
        assert (await page(fly, next_token=first["meta"]["next_token"]))["data"] == []


async def test_lines_can_be_read_only_after_the_lag(tmp_path: Path) -> None:
    """A long lag hides what was just written."""
    async with fly_inside(tmp_path, log_lag_s=60) as fly:
        machine, workload = await fly.started()
        workload.say("hello")
        assert (await page(fly, instance=machine))["data"] == []
        fly.fly.settings.log_lag_s = 0
        assert messages(await page(fly, instance=machine))[-1] == "hello"


async def test_long_lines_arrive_in_pieces(tmp_path: Path) -> None:
    """No piece is longer than the setting."""
    async with fly_inside(tmp_path, platform_lines=False, log_line_max_bytes=4) as fly:
        machine, workload = await fly.started()
        workload.say("abcdefghij", "")
        assert messages(await page(fly, instance=machine)) == ["abcd", "efgh", "ij", ""]


async def test_lines_outlive_their_machine(tmp_path: Path) -> None:
    """The log of a destroyed machine can still be read, also after its record is gone."""
    async with fly_inside(tmp_path, destroyed_retention_s=0.0) as fly:
        machine, workload = await fly.started(auto_destroy=True)
        workload.say("last words")
        workload.end(0)
        await fly.reach(machine, "destroyed")
        assert "last words" in messages(await page(fly, instance=machine))


@pytest.mark.parametrize("token", ["1.7e18", "²", "-1", "x"])
async def test_a_wrong_cursor_is_refused(tmp_path: Path, token: str) -> None:
    """400 instead of a page from somewhere."""
    async with fly_inside(tmp_path) as fly:
        answer = await fly.http.get("/api/v1/apps/local/logs", params={"next_token": token})
        assert answer.status_code == 400
