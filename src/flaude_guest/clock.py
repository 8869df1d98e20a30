"""The guest's one clock. It counts also while the machine is suspended, and nobody sets it.

Times are told as wall time, by what the wall clock said when the guest began: set later, it moves no two of
our times against each other.
"""

from __future__ import annotations

import time


def since_boot() -> float:
    """Seconds since the machine began."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_BOOTED_AT = time.time() - since_boot()


def now() -> float:
    """Seconds since the epoch."""
    return _BOOTED_AT + since_boot()
