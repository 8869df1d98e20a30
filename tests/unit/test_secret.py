"""A secret is shown only to those who ask for it by name."""

from __future__ import annotations

import traceback

from flaude_action.secret import SecretStr


def test_nothing_shows_it() -> None:
    """Neither print, repr, a format string, a container's repr nor a traceback has it."""
    secret = SecretStr("hunter2-hunter2")
    told = "".join(traceback.format_exception(ValueError(secret)))
    shown = f"{secret} {secret!r} {[secret]} {told} %s" % secret
    assert "hunter2" not in shown
    assert secret.get_secret_value() == "hunter2-hunter2"
    assert not hasattr(secret, "__dict__")


def test_it_compares_by_value() -> None:
    """Two secrets of one value are equal, a string is not, and an empty one is none."""
    assert SecretStr("a") == SecretStr("a")
    assert SecretStr("a") != "a"
    assert len({SecretStr("a"), SecretStr("a"), SecretStr("b")}) == 2
    assert not SecretStr("")
    assert repr(SecretStr("")) == "SecretStr('')"
