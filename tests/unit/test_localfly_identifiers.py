"""localfly.identifiers: ids in Fly's forms."""

import re

from hypothesis import given
from hypothesis import strategies as st

from localfly import identifiers


@given(st.lists(st.integers(min_value=0, max_value=2**47), min_size=2, max_size=20))
def test_ulids_grow_even_when_the_clock_does_not(clock: list[int]) -> None:
    """Events are ordered by their ids, so each id is greater than the last whatever the clock does."""
    times = iter(clock)
    ulid = identifiers.ulid_source(lambda: next(times))
    ids = [ulid() for _ in clock]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", each) for each in ids)


def test_machine_ids_are_recognised() -> None:
    """Fourteen hex digits are a machine id, anything else is malformed."""
    assert identifiers.is_machine_id(identifiers.machine_id())
    assert not identifiers.is_machine_id("../../etc/passwd")
    assert not identifiers.is_machine_id("d5683210c7968e0")


def test_app_names_follow_flys_rule() -> None:
    """Under 63 characters of lower case letters, digits and dashes."""
    assert identifiers.APP_NAME.match("my-app-1")
    for wrong in ("My-app", "a_b", "-a", "a" * 64, "", "a/b"):
        assert not identifiers.APP_NAME.match(wrong)
