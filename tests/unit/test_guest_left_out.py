"""Too many new files: which of them the change carries, and how long that takes to decide."""

from __future__ import annotations

import pytest
from tests.support.growth import check_growth

from flaude_guest.left_out import NewFiles

MOST = 1000


def kept(paths: list[str], most: int = MOST) -> NewFiles:
    new = NewFiles(most)
    for start in range(0, len(paths), 7):  # as they come: cut anywhere
        new.feed("".join(path + "\0" for path in paths[start : start + 7]).encode())
    return new


def tops(count: int, each: int = 1) -> list[str]:
    return [f"d{number:06}/f{file}" for number in range(count) for file in range(each)]


@pytest.mark.parametrize(
    ("paths", "tops_full"),
    [
        ([*tops(3), *(f"node_modules/{number}" for number in range(5 * MOST)), "zz.txt"], [b"node_modules"]),
        ([*tops(MOST + 300), "zz.txt"], None),
        ([*tops(400, 9), "zz.txt"], None),
        (
            [*tops(300, 3), *(f"build/{number}" for number in range(5 * MOST)), *tops(30, 2), "zz.txt"],
            [b"build"],
        ),
        ([*(f"a{number}.txt" for number in range(3 * MOST)), *tops(3)], [b""]),
    ],
    ids=["one full folder", "folders of one file", "folders of nine", "full and small", "all in the root"],
)
def test_what_is_too_much(paths: list[str], tops_full: list[bytes] | None) -> None:
    """Never more than may be; nothing is lost without being counted; what was written by hand is there."""
    new = kept(paths)
    assert len(new.paths) <= MOST
    assert len(new.paths) + sum(new.too_many.values()) == len(paths)
    assert len(new.paths) > MOST // 3
    if "zz.txt" in paths:
        assert b"zz.txt" in new.paths
        assert b"" not in new.too_many
    if tops_full is not None:
        assert list(new.too_many) == tops_full


def test_few_are_all_kept() -> None:
    """In the order in which they came, folder by folder."""
    assert kept(["a", "b/c", "d", "b/e"]).paths == [b"a", b"d", b"b/c", b"b/e"]


@pytest.mark.parametrize("each", [1, 9, 40])
def test_time_grows_with_their_number(each: int) -> None:
    """However they lie in folders."""

    def take(text: str) -> None:
        kept(tops(len(text) // each, each))

    check_growth(take, "x")
