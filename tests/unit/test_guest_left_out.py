"""New files of too many: which are kept, what is said of the others, and how long it takes."""

from __future__ import annotations

import pytest
from tests.support.growth import check_share, seconds_of

from flaude_guest.left_out import NEW_MAX, NewFiles

MOST = 100


def fed(paths: list[bytes], most: int = MOST) -> NewFiles:
    """As git names them: in the order of their names, in pieces that end anywhere."""
    return told(b"".join(path + b"\0" for path in sorted(paths)), most)


def told(text: bytes, most: int) -> NewFiles:
    new = NewFiles(most)
    for at in range(0, len(text), 65_521):
        new.feed(text[at : at + 65_521])
    return new


def inside(folder: str, count: int) -> list[bytes]:
    return [f"{folder}/{number:06}".encode() for number in range(count)]


def alone(count: int) -> list[bytes]:
    """Folders with a file in each."""
    return [f"f{number:06}/file".encode() for number in range(count)]


SHAPES = {
    "one folder": lambda count: inside("modules", count),
    "one file in each folder": alone,
    "three files in each folder": lambda count: [
        b"%s%d" % (path, each) for path in alone(count // 3) for each in range(3)
    ],
    "outside of any folder": lambda count: [f"file{number:06}".encode() for number in range(count)],
    "folders one fuller than the other": lambda count: [
        path for number in range(1, int((2 * count) ** 0.5)) for path in inside(f"f{number:06}", number)
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_time_grows_as_the_paths_do(shape: str) -> None:
    """Beyond the cap too."""

    def seconds(count: int) -> float:
        return seconds_of(kept, b"".join(path + b"\0" for path in SHAPES[shape](count)))

    def kept(text: bytes) -> None:
        assert len(told(text, 1000).paths) == 1000

    check_share(seconds, 8000)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [MOST + 1, 2 * MOST, 5 * MOST, 50 * MOST])
def test_all_are_kept_or_counted(shape: str, count: int) -> None:
    """As many as there may be are kept, none twice; what is not is named by a folder or by itself."""
    paths = [*SHAPES[shape](count), *inside("zz", 2), b"README"]
    new = fed(paths)
    assert len(set(new.paths)) == len(new.paths) == min(MOST, len(paths))
    assert {*new.paths} <= {*paths}
    assert sum(new.too_many.values()) + new.unnamed == max(0, len(paths) - MOST)
    assert len(new.too_many) <= MOST
    assert not {b"", b"/", b"./"} & {*new.too_many}
    assert all(any(path.startswith(name) for path in paths) for name in [*new.too_many][:20])


def test_no_more_than_may_be() -> None:
    new = fed(alone(MOST))
    assert (sorted(new.paths), new.too_many, new.unnamed) == (alone(MOST), {}, 0)


def test_a_file_outside_of_26000_folders() -> None:
    """What was written by hand arrives; of the folders the first."""
    new = fed([*alone(26_000), b"answer.txt", b"z.txt"], NEW_MAX)
    assert {*new.paths} == {*alone(NEW_MAX - 2), b"answer.txt", b"z.txt"}
    assert sum(new.too_many.values()) + new.unnamed == 6002
    assert next(iter(new.too_many)) == b"f019998/"


@pytest.mark.parametrize("own", [1, 1000])
@pytest.mark.parametrize("each", [1, 3])
def test_files_outside_go_before_folders(own: int, each: int) -> None:
    written = [f"z{number}".encode() for number in range(own)]
    new = fed([*(b"%s%d" % (path, n) for path in alone(26_000) for n in range(each)), *written], NEW_MAX)
    assert {*written} < {*new.paths}
    assert len(new.paths) == NEW_MAX


def test_the_fullest_folder_gives_way() -> None:
    """Alone, and nothing of the others'."""
    small = [*inside("a", 9), *inside("z", 20), b"a.txt", b"z.txt"]
    new = fed([*small, *inside("modules", 5000)])
    assert {*new.paths} == {*small, *inside("modules", MOST - len(small))}
    assert (new.too_many, new.unnamed) == ({b"modules/": 5000 - MOST + len(small)}, 0)


def test_files_outside_can_be_the_fullest() -> None:
    """They are named themselves: there is no folder to be named."""
    junk = [f"junk{number:04}".encode() for number in range(150)]
    new = fed([*junk, *inside("src", 20)])
    assert {*new.paths} == {*junk[:80], *inside("src", 20)}
    assert new.too_many == dict.fromkeys(junk[80:], 1)


def test_no_folder_is_emptied_for_a_fuller_one() -> None:
    """Two that are full have the same; a folder with one file keeps it."""
    new = fed([*inside("a", 900), *inside("b", 500), *alone(10)])
    assert {*new.paths} == {*inside("a", 45), *inside("b", 45), *alone(10)}
    assert [*new.too_many.items()] == [(b"a/", 855), (b"b/", 455)]


def test_only_those_given() -> None:
    new = NewFiles(2, frozenset([b"a", b"b/c"]))
    new.feed(b"a\0a1\0a2\0b/b\0b/c\0")
    assert (new.paths, new.too_many) == ([b"a", b"b/c"], {})
