"""Secrets are hidden before anything is cut: of a secret that lies across the cut nothing is left."""

from __future__ import annotations

import pytest

from flaude_guest.secrecy import Secrecy

SECRET = "sk-ant-" + "5ecret" * 6


@pytest.mark.parametrize("room", range(10, 60))
def test_no_part_of_a_secret_is_left_at_a_cut(room: int) -> None:
    """Wherever the cut falls, no beginning of the secret stands before it."""
    secrecy = Secrecy([SECRET])
    for shown in (secrecy.cut("x" * 9 + SECRET, room), secrecy.cut_bytes("x" * 9 + SECRET, room)):
        assert shown == ("x" * 9 + "***")[:room]


def test_lines_and_json() -> None:
    """Of a secret of several lines each is hidden, also as JSON writes it; the longest goes first."""
    secrecy = Secrecy(['first "line"\nsecond line\nend', "second line and more", "short"])
    assert secrecy.hide('a first "line" b') == "a *** b"
    assert secrecy.hide('{"x": "first \\"line\\"\\nsecond line"}') == '{"x": "***\\n***"}'
    assert secrecy.hide("second line and more, short end") == "***, short end"


def test_bytes_are_cut_between_characters() -> None:
    """A character that does not fit whole is left out."""
    assert Secrecy().cut_bytes("aüü", 4) == "aü"
