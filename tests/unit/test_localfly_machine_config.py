"""localfly.machine_config: what Fly refuses, what it fills in."""

import signal
from typing import Any

import pytest

from localfly.machine_config import check_region, checked, duration_s, stop_steps
from localfly.settings import Settings
from localfly.wire import ApiError

IMAGE = {"image": "i:1"}


def refusal(config: object) -> ApiError:
    with pytest.raises(ApiError) as raised:
        checked(config)
    return raised.value


def test_defaults_are_filled_in() -> None:
    """One shared CPU with 256 MiB, and empty parts, as Fly's own answers show them."""
    config = checked(IMAGE)
    assert config["guest"] == {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}
    assert (config["init"], config["restart"]) == ({}, {})


@pytest.mark.parametrize(
    "guest",
    [
        {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
        {"cpu_kind": "shared", "cpus": 4, "memory_mb": 8192},
        {"cpu_kind": "performance", "cpus": 2, "memory_mb": 16384},
    ],
)
def test_sizes_within_the_limits_pass(guest: dict[str, Any]) -> None:
    """256 to 2048 MiB per shared CPU, 2048 to 8192 per performance CPU."""
    assert checked(IMAGE | {"guest": guest})["guest"] == guest


@pytest.mark.parametrize(
    "guest",
    [
        {"cpu_kind": "shared", "cpus": 2, "memory_mb": 256},
        {"cpu_kind": "shared", "cpus": 1, "memory_mb": 4096},
        {"cpu_kind": "shared", "cpus": 1, "memory_mb": 300},
        {"cpu_kind": "shared", "cpus": 1, "memory_mb": "256"},
        {"cpu_kind": "performance", "cpus": 8, "memory_mb": 8192},
        {"cpu_kind": "quantum"},
        {"cpus": 3},
    ],
)
def test_sizes_beyond_the_limits_are_refused(guest: dict[str, Any]) -> None:
    """400 with the member's name, before anything is created."""
    error = refusal(IMAGE | {"guest": guest})
    assert error.status == 400
    assert "config.guest" in str(error.body)


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"image": 5},
        IMAGE | {"env": {"A": 1}},
        IMAGE | {"env": ["A=1"]},
        IMAGE | {"init": {"cmd": "sh"}},
        IMAGE | {"init": ["sh"]},
        IMAGE | {"restart": {"policy": "never"}},
        IMAGE | {"stop_config": {"timeout": "30"}},
        IMAGE | {"stop_config": {"signal": "SIGWHAT"}},
        IMAGE | {"mounts": [{"volume": "vol_1", "path": "/data"}]},
    ],
)
def test_wrong_configurations_are_refused(config: object) -> None:
    """Wrong types, unknown words and what localfly cannot honour all answer 400."""
    assert refusal(config).status == 400


def test_a_region_must_exist_and_have_room() -> None:
    """Unknown: 400; full: 422 with Fly's capacity code; none: the default."""
    settings = Settings(full_regions=("fra",))
    assert check_region(None, settings) == "iad"
    for region, status in (("xxx", 400), (7, 400), ("fra", 422)):
        with pytest.raises(ApiError) as raised:
            check_region(region, settings)
        assert raised.value.status == status


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m30s", 90), ("1.5h", 5400), ("500ms", 0.5), (3_000_000_000, 3)]
)
def test_durations_are_go_s(text: object, seconds: float) -> None:
    """Numbers with units, or bare nanoseconds."""
    assert duration_s(text) == seconds


def test_a_stop_without_order_uses_two_signals() -> None:
    """SIGINT, then SIGTERM five seconds later; an order has one signal of its own."""
    assert stop_steps({}) == ((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0))
    assert stop_steps({"signal": "SIGTERM", "timeout": "30s"}) == ((signal.SIGTERM, 30.0),)
    assert stop_steps({"timeout": "2s"}) == ((signal.SIGINT, 2.0),)
