"""The soak in small: every way a run can end, a few times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench.soak import ENDINGS, soak

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.claude
@pytest.mark.full
async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """No ending leaves a machine, a process or an open file, and each ends as it should."""
    found = await soak(2 * len(ENDINGS), tmp_path)
    assert found.leaks == []
    assert found.endings == {
        "success: success": 2,
        "cancelled: cancelled": 2,
        "machine dies: failure": 2,
        "create answer is lost: success": 2,
        "step is killed: post": 2,
    }
