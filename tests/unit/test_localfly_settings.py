"""localfly.settings: named assumptions, checked when they are changed."""

import pytest

from localfly.settings import SettingError, Settings, describe


def test_values_are_read_as_json_or_text() -> None:
    """`name=value` takes JSON where it is JSON, and text otherwise."""
    settings = Settings.from_pairs(
        ["log_lag_s=2", 'apps=["a","b"]', "exit_event_shape=crash", "rate_limits=true"]
    )
    assert (settings.log_lag_s, settings.apps, settings.exit_event_shape) == (2.0, ("a", "b"), "crash")
    assert settings.rate_limits is True


@pytest.mark.parametrize(
    "pair",
    [
        "nothing",
        "no_such=1",
        "rate_limits=1",
        "exec_stdin_max_bytes=true",
        "exec_stdin_max_bytes=1.5",
        "apps=local",
        "apps=[1]",
        "exit_event_shape=odd",
    ],
)
def test_a_wrong_setting_is_refused(pair: str) -> None:
    """An unknown name, a wrong type and a value outside the choices are errors, never ignored."""
    with pytest.raises(SettingError):
        Settings.from_pairs([pair])


def test_a_change_is_all_or_nothing() -> None:
    """One wrong value leaves the other settings as they were."""
    settings = Settings()
    with pytest.raises(SettingError):
        settings.change({"log_lag_s": 3, "log_boundary": "odd"})
    assert settings.log_lag_s == 0.0


def test_every_setting_is_described() -> None:
    """The list for people has each setting with its default and its reason."""
    text = describe()
    for name in Settings().as_json():
        assert f"{name}=" in text
