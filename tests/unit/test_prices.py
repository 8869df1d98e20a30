"""What a Machine costs, held against prices that Fly has published elsewhere."""

from __future__ import annotations

import pytest

from flaude_action.machine_size import REGIONS
from flaude_action.prices import machine_cost_usd

MONTH_S = 30 * 24 * 3600


@pytest.mark.parametrize(
    ("cpu_kind", "cpus", "memory_mb", "usd_a_month"),
    [
        # https://fly.io/blog/new-vms-more-ram-extra-cpu-and-a-dollar-menu/, and unchanged in Ashburn since
        ("shared", 1, 256, 1.94),
        ("shared", 1, 1024, 5.70),
        ("shared", 1, 2048, 10.70),
        ("performance", 1, 2048, 31.00),
        ("performance", 2, 8192, 82.02),
        # https://fly.io/docs/about/pricing/ ("about $5 per 30 days per GB of additional RAM")
        ("shared", 2, 4096, 2 * 1.94 + 3.5 * 5.00),
    ],
)
def test_ashburn(cpu_kind: str, cpus: int, memory_mb: int, usd_a_month: float) -> None:
    """A month costs what Fly says, to a few cents of rounding."""
    cost = machine_cost_usd(MONTH_S, cpu_kind=cpu_kind, cpus=cpus, memory_mb=memory_mb, region="iad")
    assert cost == pytest.approx(usd_a_month, rel=0.005)


def test_regions_differ() -> None:
    """Frankfurt is dearer than Ashburn, by the factor of the table."""
    here, there = (
        machine_cost_usd(1e6, cpu_kind="shared", cpus=2, memory_mb=4096, region=region)
        for region in ("iad", "fra")
    )
    assert here is not None
    assert there == pytest.approx(here * 15 / 13)


@pytest.mark.parametrize(("cpu_kind", "region"), [("a100", "iad"), ("shared", "bom"), ("shared", "xyz")])
def test_what_is_not_proven_has_no_price(cpu_kind: str, region: str) -> None:
    """A CPU or a region that the published table does not hold costs None, not a guess."""
    assert machine_cost_usd(1, cpu_kind=cpu_kind, cpus=1, memory_mb=256, region=region) is None


def test_nearly_all_regions_have_a_price() -> None:
    """Of the regions an input may name, only those that Fly does not list are without a price."""
    priced = {
        region
        for region in REGIONS
        if machine_cost_usd(1, cpu_kind="shared", cpus=1, memory_mb=256, region=region) is not None
    }
    assert REGIONS.keys() - priced == {"bom"}
