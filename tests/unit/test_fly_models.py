import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaude_action.fly_events import Event, parse_events
from flaude_action.fly_models import App, ExecResult, LogsPage, Machine, WaitAnswer

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))


def the_exit(raw: dict[str, Any]) -> Any:
    event = Event.parse(raw)
    assert event.exit is not None
    return event.exit


def test_created_machine_is_read_whole() -> None:
    """The documented answer to a create gives every field a caller needs."""
    machine = Machine.parse(recorded("docs-create-machine-created"))
    assert (machine.id, machine.state, machine.region) == ("1857156b526dd8", "created", "ord")
    assert machine.instance_id == "01HEPA330HZ37A78TK080NAK1M"
    assert machine.image_ref.digest.startswith("sha256:c9cf959f")
    assert machine.image_ref.labels["org.opencontainers.image.version"] == "22.04"
    assert machine.config["auto_destroy"] is True
    assert machine.events[0].timestamp == 1699408350300


def test_explicit_zeros_and_minus_one_signals() -> None:
    """The 2022 shape: every member present, no signal is -1, the time in milliseconds."""
    machine = Machine.parse(recorded("docs-get-machine-stopped-exit127"))
    end = machine.events[0].exit
    assert end is not None
    assert (end.exit_code, end.guest_exit_code, end.signal, end.guest_signal) == (127, 0, None, None)
    assert end.exited_at == 1653047897.299
    assert end.unknown_keys == frozenset()
    assert machine.metadata == {}


def test_monitor_event_nesting() -> None:
    """The capitalised nesting is read, an omitted exit code is None, and the keys tell it was omitted."""
    events = Machine.parse(recorded("laravel-get-machine-MonitorEvent")).events
    ends = [event.exit for event in events if event.exit]
    assert len(ends) == 1
    assert ends[0].nesting == "MonitorEvent"
    assert ends[0].exit_code is None
    assert ends[0].requested_stop is True
    assert ends[0].keys == {"requested_stop", "guest_signal", "signal", "exited_at"}
    assert ends[0].exited_at == pytest.approx(1669151871.924)


def test_both_nestings_in_one_history() -> None:
    """Both nestings occur side by side and keep their own codes and Fly's order."""
    events = parse_events(recorded("ampbase-events-monitor-nesting"))
    assert [(event.exit.nesting, event.exit.exit_code) for event in events if event.exit] == [
        ("exit_event", 1),
        ("MonitorEvent", 42),
    ]


def test_never_exited() -> None:
    """A machine destroyed before it ran has a history without any exit."""
    events = parse_events(recorded("ampbase-events-destroyed-never-exited"))
    assert [event.status for event in events] == ["destroyed", "destroying", "created", "pending"]
    assert not any(event.exit for event in events)


def test_out_of_memory_in_both_encodings() -> None:
    """137 with the flag, and a crash with -1 and guest signal 9."""
    first = parse_events(recorded("ampbase-events-oom137"))[1].exit
    assert first is not None
    assert (first.exit_code, first.oom_killed) == (137, True)
    second = the_exit(recorded("aiimplement-exit-event-shapes")["oom_killed"])
    assert (second.exit_code, second.guest_signal, second.oom_killed) == (-1, 9, True)


def test_clean_exit_of_2026() -> None:
    """All zeros with nanosecond time, and the empty payload, hold nothing unknown."""
    explicit = parse_events(recorded("uckele-events-exit0-explicit-zeros"))[0].exit
    assert explicit is not None
    assert (explicit.exit_code, explicit.unknown_keys) == (0, frozenset())
    assert explicit.exited_at == pytest.approx(1791605161.334578)
    empty = the_exit(recorded("aiimplement-exit-event-shapes")["clean_exit_0"])
    assert (empty.exit_code, empty.keys, empty.unknown_keys) == (None, frozenset(), frozenset())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("exit_code", "0"),
        ("exit_code", True),
        ("exit_code", 0.0),
        ("exit_code", None),
        ("exit_code", 2**63),
        ("oom_killed", "false"),
        ("error", {"text": "x"}),
        ("exited_at", "yesterday"),
        ("core_dumped", False),
    ],
)
def test_what_is_not_understood_is_unknown(member: str, value: object) -> None:
    """A member we do not know, or of another type, is named, so that nobody takes it for a zero."""
    end = the_exit({"type": "exit", "request": {"exit_event": {"requested_stop": False, member: value}}})
    assert end.unknown_keys == {member}
    assert end.exit_code is None
    assert end.oom_killed is False


def test_metadata_of_an_unreachable_host() -> None:
    """When Fly has only an incomplete configuration, the metadata in it still tells whose machine it is."""
    machine = Machine.parse(
        {"id": "1", "host_status": "unreachable", "incomplete_config": {"metadata": {"ours": "yes"}}}
    )
    assert machine.metadata == {"ours": "yes"}
    assert machine.config == {}


def test_app_exec_and_wait() -> None:
    """The small answers."""
    assert App.parse(recorded("docs-get-app-200")).organization == "personal"
    assert WaitAnswer.parse(recorded("docs-ok-true")) == WaitAnswer("", "", "")
    assert ExecResult.parse({"stdout": "hi\n"}) == ExecResult("hi\n", "", 0, None)
    assert ExecResult.parse({"exit_code": "0"}).exit_code is None
    assert ExecResult.parse({"exit_code": 137, "exit_signal": 9}).exit_signal == 9


@pytest.mark.parametrize("token", ["1790000000000000001", 1790000000000000001])
def test_cursor_is_exact(token: object) -> None:
    """A cursor beyond 2^53 stays what it was, as number and as text."""
    page = LogsPage.parse({"data": [], "meta": {"next_token": token}})
    assert page.next_token == "1790000000000000001"


def test_page_without_cursor() -> None:
    """A page may have no cursor at all."""
    page = LogsPage.parse(recorded("insforge-logs-page"))
    assert len(page.entries) == 1
    assert page.next_token == ""


@given(JUNK)
def test_junk_never_raises(raw: object) -> None:
    """Whatever Fly sends, parsing gives an object."""
    for kind in (App, Event, ExecResult, LogsPage, Machine, WaitAnswer):
        assert isinstance(kind.parse(raw), kind)  # type: ignore[attr-defined]


@given(JUNK, JUNK, JUNK)
def test_junk_inside_never_raises(config: object, request: object, member: object) -> None:
    """Junk in the places that are looked into deeper raises nothing either."""
    payload = {"exit_code": member, "exited_at": member, "signal": member, "error": member}
    raw = {
        "config": config,
        "image_ref": config,
        "events": [
            {"request": request, "timestamp": member},
            {"request": {"MonitorEvent": {"exit_event": payload}, "exit_event": payload}},
            request,
        ],
    }
    machine = Machine.parse(raw)
    assert any(event.exit is not None for event in machine.events)
