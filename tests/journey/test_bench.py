"""Every bench in small, through its own entry: what it measures is still there, whatever the numbers are."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from bench import boot, compare_flaude, container, log_intake, startup
from tests.support import engines
from tests.support.step import ROOT

if TYPE_CHECKING:
    from pathlib import Path

BENCH = importlib.import_module("bench.__main__")
LINES = 250


def test_log_intake() -> None:
    """All lines are read, page by page, and both numbers are of them."""
    found = log_intake.measure(LINES)
    assert found["lines"] == 300  # a page has a hundred
    assert found["lines_per_s"] > 0
    assert found["peak_rss_mb"] > 0


def test_startup_of_ours(tmp_path: Path) -> None:
    """Our step gets as far as the create request."""
    with startup.fly() as url:
        environ = startup.our_environment(url, tmp_path)
        asked_s, created_s = startup.seconds([sys.executable, "-I", "-c", startup.OURS], environ)
    assert 0 < asked_s < created_s


@pytest.mark.flaude
def test_startup() -> None:
    """Both get there."""
    found = startup.measure(pairs=1)
    assert found["ratio"] == pytest.approx(found["ours_s"] / found["flaude_s"])


@pytest.mark.flaude
def test_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is written, with what both say of an end."""
    name, happened = next(iter(compare_flaude.COMPARED.items()))
    page = tmp_path / "compared.md"
    monkeypatch.setattr(compare_flaude, "COMPARED", {name: happened})
    monkeypatch.setattr(compare_flaude, "PAGE", page)
    monkeypatch.chdir(tmp_path)
    compare_flaude.main()
    assert page.read_text().startswith(compare_flaude.HEAD)
    assert page.read_text().splitlines()[-1].startswith(f"| {happened} | ")


@pytest.mark.docker
def test_container() -> None:
    """The image has a size, and in it a step gets as far as a call of Fly's API."""
    found = container.measure(runs=1)
    assert found["image_mb"] > 1
    assert found["first_call_s"] > 0


@pytest.mark.docker
async def test_boot() -> None:
    """Each phase is seen, one after another."""
    [found] = await boot.phases(engines.machine_image(), 1)
    assert set(found) == {"total", *boot.PHASES}
    assert found["total"] == pytest.approx(sum(found[phase] for phase in boot.PHASES))
    assert min(found.values()) >= 0


@pytest.mark.claude
def test_soak() -> None:
    """One run, and a look at what it left behind."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", "--runs", "1"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "    1 success: success\nNothing was left behind.\n", done.stderr
    assert done.returncode == 0


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything once or twice only."""
    monkeypatch.setattr(BENCH, "FEW", LINES)
    monkeypatch.setattr(BENCH, "MANY", 2 * LINES)
    smaller: tuple[tuple[Any, dict[str, int]], ...] = (
        (startup, {"pairs": 1}),
        (container, {"runs": 1}),
        (boot, {"runs": 1}),
    )
    for module, size in smaller:
        monkeypatch.setattr(module, "measure", partial(module.measure, **size))


@pytest.mark.flaude
def test_the_table_without_an_engine(
    few: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be measured is said."""
    monkeypatch.setattr(container, "missing", lambda: "no engine")
    BENCH.main()
    assert "not measured: no engine" in capsys.readouterr().out


@pytest.mark.flaude
@pytest.mark.docker
@pytest.mark.full
def test_the_table(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each budget, and for each phase of a boot."""
    BENCH.main()
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 9 + len(boot.PHASES)
    for budget in ("2.2 times", "100,000 lines/s", "80 MB, flat", "25 MB", "0.6 s"):
        assert budget in out
