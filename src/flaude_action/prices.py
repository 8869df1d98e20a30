"""What a Machine costs while it runs, by Fly's published prices. Pure.

The table is that of https://fly.io/docs/about/pricing/, read on 21 November 2026 in the source of the
page: https://github.com/superfly/docs/blob/12704c089374a83455494179e2f69dbf0cd6e811/snippets/RegionPricingSelector.jsx
Billed are the seconds in the state `started`: https://fly.io/docs/about/billing/. Not in here: traffic,
reservations, discounts, and regions that the page does not list (`bom`).
"""

from __future__ import annotations

PRICES_DATE = "2026-11-21"
PRICES_URL = "https://fly.io/docs/about/pricing/"

_CPU_SECOND = {"shared": 0.00000075, "performance": 0.00001196}
"""USD for one CPU and second in Ashburn, with the memory below."""
_INCLUDED_MB = {"shared": 256, "performance": 2048}
_GB_SECOND = 0.00000193
"""USD for one more GB of memory and second in Ashburn."""
_REGION = {
    "ams": 1.038461538, "arn": 1.038461538, "cdg": 1.134615385, "dfw": 1.25, "ewr": 1.0, "fra": 1.153846154,
    "gru": 1.615384615, "iad": 1.0, "jnb": 1.302884615, "lax": 1.199519231, "lhr": 1.134615385,
    "nrt": 1.307692308, "ord": 1.25, "sin": 1.269230769, "sjc": 1.192307692, "syd": 1.269230769,
    "yyz": 1.115384615,
}  # fmt: skip
"""Price relative to Ashburn."""


def machine_cost_usd(
    seconds: float, *, cpu_kind: str, cpus: int, memory_mb: int, region: str
) -> float | None:
    """USD for `seconds` in the state `started`, None for a kind of CPU or a region without a known price."""
    if cpu_kind not in _CPU_SECOND or region not in _REGION:
        return None
    more_gb = max(0, memory_mb - cpus * _INCLUDED_MB[cpu_kind]) / 1024
    per_second = cpus * _CPU_SECOND[cpu_kind] + more_gb * _GB_SECOND
    return round(seconds * per_second * _REGION[region], 6)
