"""What every test gets: a clean environment, no way out of this machine, engines, and an honest closing.

`FLAUDE_TEST_REQUIRE=docker,registry,act,claude` makes a missing engine an error instead of a skip.
`FLAUDE_TEST_FULL=1` also runs the tests marked `full`.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from tests.support import engines

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRUBBED = ("GITHUB_", "INPUT_", "FLY_", "ANTHROPIC_", "CLAUDE_", "ACTIONS_", "RUNNER_", "STATE_")
UNIT = Path(__file__).parent / "unit"
REQUIRED = frozenset(filter(None, os.environ.get("FLAUDE_TEST_REQUIRE", "").replace(" ", "").split(",")))

# A busy computer may take any time for an example: that says nothing about the code.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


def pytest_configure() -> None:
    if unknown := REQUIRED - engines.ENGINES.keys():
        raise pytest.UsageError(f"FLAUDE_TEST_REQUIRE names no engine: {', '.join(sorted(unknown))}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("full") and os.environ.get("FLAUDE_TEST_FULL") != "1":
        pytest.skip("it takes long (FLAUDE_TEST_FULL=1 runs it)")
    for name, missing in engines.ENGINES.items():
        if item.get_closest_marker(name) and (reason := missing()):
            if name in REQUIRED:
                pytest.fail(f"{name} is required here, but {reason}", pytrace=False)
            pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in plain words what this run did not test, and why."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    terminalreporter.section("Not run here")
    for reason, count in reasons.most_common():
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"  {tests}, because {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """The runner's, Fly's and the model's variables of whoever runs the tests reach no test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SCRUBBED):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A unit test that tries to leave this machine fails, even if the code under test copes with it."""
    connect, refused = socket.socket.connect, []

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not _is_loopback(address[0]):
            refused.append(address[0])
            raise ConnectionRefusedError(f"a test wanted to connect to {address[0]}")
        connect(self, address)

    if UNIT in request.path.parents:
        monkeypatch.setattr(socket.socket, "connect", guarded)
    yield
    assert not refused, f"a unit test wanted to connect to {refused}"


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


@pytest.fixture(scope="session")
def base_image() -> str:
    """The local Debian image that the other images are built on."""
    return engines.base_image()


@pytest.fixture(scope="session")
def action_image() -> str:
    """The action's own container image, built from this tree."""
    return engines.action_image()


@pytest.fixture(scope="session")
def machine_image() -> str:
    """The machine's image with our guest and the real Claude Code, built from this tree."""
    return engines.machine_image()


@pytest.fixture(scope="session")
def registry() -> Iterator[str]:
    """A container registry on loopback, as `127.0.0.1:port`."""
    with engines.registry() as address:
        yield address


@pytest.fixture(scope="session")
def claude() -> Path:
    """The pinned Claude Code program."""
    return engines.claude()


@pytest.fixture(scope="session")
def act() -> Iterator[str]:
    """The `act` program, for this session alone."""
    with engines.act_lock():
        yield engines.act()
