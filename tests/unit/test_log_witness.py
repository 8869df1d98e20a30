"""What the log's end says: the marker as the last word, the platform's exit code."""

from __future__ import annotations

import pytest

from flaude_action.log_witness import LogWitness


def heard(*lines: str | tuple[str, str]) -> LogWitness:
    witness = LogWitness()
    for line in lines:
        message, provider = line if isinstance(line, tuple) else (line, "app")
        witness.see(message, provider)
    return witness


@pytest.mark.parametrize(
    ("lines", "marker", "last"),
    [
        (["working", "[flaude:exit:0]"], 0, True),
        (["[flaude:exit:0]", "working"], 0, False),
        (["[flaude:exit:0]", "  "], 0, True),
        (
            ["[flaude:exit:0]", " INFO Main child exited normally with code: 0", " INFO Starting clean up."],
            0,
            True,
        ),
        (["[flaude:exit:0]", "[    2.3] reboot: Restarting system"], 0, True),
        (["[flaude:exit:1]", "[flaude:exit:0]"], 0, True),
        (["said [flaude:exit:0]"], None, False),
        ([" [flaude:exit:0]"], None, False),
        (["[flaude:exit:1234]"], None, False),
        ([("[flaude:exit:0]", "runner")], None, False),
        (["[flaude:exit:0]", ("machine exited with exit code 0, not restarting", "runner")], 0, True),
    ],
)
def test_marker(lines: list[str | tuple[str, str]], marker: int | None, last: bool) -> None:
    """Only a line that is nothing but the marker counts, and only as the workload's last."""
    witness = heard(*lines)
    assert (witness.marker, witness.marker_is_last) == (marker, last)


@pytest.mark.parametrize(
    ("message", "provider", "code"),
    [
        ("machine exited with exit code 137, not restarting", "runner", 137),
        ("machine exited with exit code 0", "runner", 0),
        ("machine exited with exit code -1, not restarting", "runner", -1),
        ("machine exited with exit code 0", "app", None),
        ("the machine exited with exit code 3", "runner", None),
    ],
)
def test_platforms_word(message: str, provider: str, code: int | None) -> None:
    """Fly's own exit line counts only from Fly's own provider."""
    assert heard((message, provider)).platform_code == code


def test_only_the_newest_launch_counts() -> None:
    """What was said before a restart is not the word of the launch that came after."""
    witness = heard("[flaude:exit:0]", ("machine exited with exit code 0, restarting", "runner"), "again")
    assert (witness.marker, witness.platform_code) == (None, None)
