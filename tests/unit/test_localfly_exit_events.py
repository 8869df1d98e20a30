"""localfly.exit_events: ends in the shapes that were recorded of Fly."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from localfly.backend import Exit
from localfly.exit_events import exit_request, init_lines, rfc3339_ns, runner_line

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


def request_of(end: Exit, shape: str, *, requested_stop: bool = False) -> tuple[str, dict[str, Any]]:
    told = exit_request(end, shape, requested_stop=requested_stop, restarting=False, restart_count=0)
    assert told is not None
    return told


def test_explicit_zeros_have_the_recorded_keys_and_values() -> None:
    """The shape of October 2026: a clean end spells out every key."""
    event = recorded("uckele-events-exit0-explicit-zeros.json")[0]["request"]["exit_event"]
    ours = request_of(Exit(0), "explicit")[1]["exit_event"]
    assert ours.keys() == event.keys()
    assert {key: ours[key] for key in ours if key != "exited_at"} == {
        key: event[key] for key in event if key != "exited_at"
    }


def test_millis_have_the_recorded_keys_and_values() -> None:
    """The shape of 2022 in Fly's documentation: exited_at in ms."""
    request = recorded("docs-get-machine-stopped-exit127.json")["events"][0]["request"]
    ours = request_of(Exit(127), "millis")[1]
    assert type(ours["exit_event"].pop("exited_at")) is type(request["exit_event"].pop("exited_at")) is int
    assert ours == request


def test_monitor_nesting_omits_zeros_as_recorded() -> None:
    """The shape of November 2022: under MonitorEvent, no exit_code for 0."""
    machine = recorded("laravel-get-machine-MonitorEvent.json")
    event = next(each for each in machine["events"] if each["type"] == "exit")
    ours = request_of(Exit(0), "monitor", requested_stop=True)[1]
    theirs = event["request"]["MonitorEvent"]["exit_event"]
    assert ours.keys() == event["request"].keys()
    assert ours["MonitorEvent"]["exit_event"] | {"exited_at": theirs["exited_at"]} == theirs


def test_bare_shapes_are_those_measured_in_2026() -> None:
    """Nothing but the code, and a crash for whatever a signal ended."""
    shapes = recorded("aiimplement-exit-event-shapes.json")
    ends = {"clean_exit_0": Exit(0), "exit_2": Exit(2), "oom_killed": Exit(137, 9, oom_killed=True)}
    for name, end in ends.items():
        kind, request = request_of(end, "crash")
        assert (kind, request) == (shapes[name]["type"], shapes[name]["request"])


def test_an_end_may_be_told_by_no_event() -> None:
    """With `none` there is nothing to record."""
    assert exit_request(Exit(1), "none", requested_stop=False, restarting=False, restart_count=0) is None


@pytest.mark.parametrize(
    ("end", "first"),
    [
        (Exit(3), " INFO Main child exited normally with code: 3"),
        (
            Exit(137, 9),
            " INFO Main child exited with signal (with signal 'SIGKILL', core dumped? false)",
        ),
    ],
)
def test_init_says_how_the_main_process_ended(end: Exit, first: str) -> None:
    """Init's line tells a code from a signal."""
    assert init_lines(end)[0] == first


def test_memory_is_told_in_init_s_own_words() -> None:
    """Only an OOM kill brings init's sentence about it."""
    sentence = "Process appears to have been OOM killed!"
    assert sentence in init_lines(Exit(137, 9, oom_killed=True))
    assert sentence not in init_lines(Exit(137, 9))


def test_the_runner_says_the_code_and_what_follows() -> None:
    """The recorded sentence of the runner, and its counterpart for a restart."""
    assert runner_line(Exit(0), restarting=False) == "machine exited with exit code 0, not restarting"
    assert runner_line(Exit(5), restarting=True) == "machine exited with exit code 5, restarting"


def test_times_keep_their_nanoseconds() -> None:
    """Cursors are made of these times, so no digit may be rounded away."""
    assert rfc3339_ns(1_664_310_874_252_022_967) == "2022-09-27T20:34:34.252022967Z"
    assert re.fullmatch(r"1970-01-01T00:00:00\.000000001Z", rfc3339_ns(1))
