"""Which machines Fly makes: CPU kinds and counts, memory per CPU, regions, and what lies near a wrong one.

Prices are not here, and whether Fly has room is known only to Fly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CpuKind = Literal["shared", "performance"]

REGIONS: dict[str, str] = {
    "ams": "Amsterdam", "arn": "Stockholm", "bom": "Mumbai", "cdg": "Paris", "dfw": "Dallas",
    "ewr": "Secaucus", "fra": "Frankfurt", "gru": "Sao Paulo", "iad": "Ashburn", "jnb": "Johannesburg",
    "lax": "Los Angeles", "lhr": "London", "nrt": "Tokyo", "ord": "Chicago", "sin": "Singapore",
    "sjc": "San Jose", "syd": "Sydney", "yyz": "Toronto",
}  # fmt: skip
"""As listed at https://fly.io/docs/reference/regions/ in November 2026 (today's: `fly platform regions`)."""


@dataclass(frozen=True)
class Sizes:
    """What one CPU kind allows; memory in MB."""

    cpus: tuple[int, ...]
    memory_per_cpu_min: int
    memory_per_cpu_max: int
    memory_step: int


SIZES: dict[CpuKind, Sizes] = {
    "shared": Sizes((1, 2, 4, 8), 256, 2048, 256),
    "performance": Sizes((1, 2, 4, 8, 16), 2048, 8192, 2048),
}
"""https://fly.io/docs/machines/guides-examples/machine-sizing/"""


def memory_limits(kind: CpuKind, cpus: int) -> tuple[int, int]:
    """The least and the most MB that so many CPUs can have."""
    sizes = SIZES[kind]
    return sizes.memory_per_cpu_min * cpus, sizes.memory_per_cpu_max * cpus


def nearest_memory(kind: CpuKind, cpus: int, memory_mb: int) -> list[int]:
    """The allowed sizes next to `memory_mb`, smaller first; just `[memory_mb]` when it is allowed itself."""
    low, high = memory_limits(kind, cpus)
    step = SIZES[kind].memory_step
    below = memory_mb // step * step
    candidates = {min(max(size, low), high) for size in (below, below + step)}
    return [memory_mb] if memory_mb in candidates else sorted(candidates)


def close_regions(region: str) -> list[str]:
    """Up to three known regions that look like what was typed, city names included (`london` finds `lhr`)."""
    import difflib  # only a misspelt region needs it, and the start of every run is timed

    typed = region.lower()
    by_city = [code for code, city in REGIONS.items() if len(typed) > 3 and typed in city.lower()]
    return (by_city + difflib.get_close_matches(typed, REGIONS, n=3, cutoff=0.5))[:3]
