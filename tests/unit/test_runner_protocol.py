"""Entries of the runner's files; that any value survives is proved in tests/contract."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from tests.support import runner

from flaude_action.runner_protocol import file_entry, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_the_delimiter_is_never_part_of_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should chance or foresight have put the delimiter into the value, another one is taken."""
    tokens: Iterator[str] = iter(["guessed", "fresh"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(tokens))
    value = "x\nflaude_guessed\nevil<<flaude_guessed\ny"
    assert runner.parse_file(file_entry("a", value)) == {"a": value}


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a<<b", "a\nb", "1a", "é"])
def test_names_are_plain(name: str) -> None:
    """A name that would change the entry's meaning is refused."""
    with pytest.raises(ValueError, match="not a name"):
        file_entry(name, "x")


def test_shortened() -> None:
    """A value over the limit ends with a note, inside the limit, and never in the middle of a character."""
    assert shortened("é" * 50, 100) == "é" * 50
    text = shortened("é" * 51, 100)
    assert text.endswith("\n[cut: 102 bytes in all]")
    assert len(text.encode()) <= 100
    assert "\ufffd" not in text
