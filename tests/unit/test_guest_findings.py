"""Places that a failed command's output names, in pytest's, tsc's and GCC's notation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from flaude_guest.findings import FINDINGS_MAX, MESSAGE_CHARS, Tail, find

if TYPE_CHECKING:
    from pathlib import Path

PYTEST_LONG = """\
____________________________ test_last_page ____________________________

    def test_last_page():
>       assert pages(10, 5) == 2
E       assert 3 == 2
E        +  where 3 = pages(10, 5)

tests/test_pages.py:7: AssertionError
____________________________ test_divide ____________________________
tests/test_pages.py:12:
    def pages(items, size):
>       return items // size
E       ZeroDivisionError: integer division or modulo by zero

src/pages.py:3: ZeroDivisionError
=========================== short test summary info ===========================
FAILED tests/test_pages.py::test_last_page - assert 3 == 2
"""
PYTEST_SHORT = """\
____________________________ test_last_page ____________________________
tests/test_pages.py:7: in test_last_page
    assert pages(10, 0) == 2
src/pages.py:3: in pages
    return items // size
E   ZeroDivisionError: integer division or modulo by zero
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with a few files, and one outside of it."""
    checkout = tmp_path / "widget"
    files = (
        "src/a.ts",
        "src/my file.c",
        "src/pages.py",
        "tests/test_pages.py",
        "main.c",
        ".git/hooks/sample",
    )
    for name in files:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("line\n" * 20)
    (tmp_path / "outside.c").touch()
    (checkout / "link.c").symlink_to("../outside.c")
    return checkout


def places(output: str, root: Path) -> list[tuple[str, int, int | None, str]]:
    return [tuple(one.values()) for one in find(output.splitlines(), root)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("main.c:3: error: x", ("main.c", 3, None, "error: x")),
        ("main.c:3:14: error: expected ';'", ("main.c", 3, 14, "error: expected ';'")),
        ("./src/pages.py:1:1: F401 unused", ("src/pages.py", 1, 1, "F401 unused")),
        ("src/my file.c:9:2: fatal error: y", ("src/my file.c", 9, 2, "fatal error: y")),
        ("src/a.ts(12,5): error TS2322: No.", ("src/a.ts", 12, 5, "error TS2322: No.")),
        ("src/a.ts:12:5 - error TS2322: No.", ("src/a.ts", 12, 5, "error TS2322: No.")),
    ],
)
def test_notations(root: Path, line: str, place: tuple[str, int, int | None, str]) -> None:
    """File, line, column and message of each notation."""
    assert places(line, root) == [place]


@pytest.mark.parametrize(
    "line",
    [
        "main.c:3:14: warning: unused", "main.c:3: note: declared here", "gone.c:3: error: x",
        "../outside.c:3: error: x", "link.c:3: error: x", "src:3: error: x", "main.c:0: error: x",
        "main.c:99999999999: error: x", "http://main.c:80: x", "12:30:01: started", "main.c:3:",
        "x" * 9999 + ":1: y", "a\0b:1: error: x", ".git/hooks/sample:1: error: x", "main.c:8080: error: busy",
    ],
)  # fmt: skip
def test_no_findings(root: Path, line: str) -> None:
    """Warnings, files that are not there, not inside or git's own, and lines that only look alike."""
    assert places(line, root) == []


@pytest.mark.parametrize(
    ("content", "last"), [("a\nb\n", 3), ("a\nb", 3), ("", 1), ("\n", 2), ("x" * 5_000_000, 9_999_999)]
)
def test_lines_that_a_file_has(root: Path, content: str, last: int) -> None:
    """And one more: there parsers tell of a file that ends too soon. A huge file is not read to its end."""
    (root / "main.c").write_text(content)
    assert places(f"main.c:{last}: error: x", root) == [("main.c", last, None, "error: x")]
    assert places(f"main.c:{last + 1}: error: x", root) == []


def test_what_is_swapped_for_a_pipe_is_not_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be another thing by the time it is read."""
    (root / "main.c").unlink()
    os.mkfifo(root / "main.c")
    monkeypatch.setattr("pathlib.Path.is_file", lambda _: True)
    assert places("main.c:1: error: x", root) == []


def test_absolute_paths_become_relative(root: Path) -> None:
    """A tool that prints whole paths is understood too."""
    assert places(f"{root}/main.c:3: error: x", root) == [("main.c", 3, None, "error: x")]


def test_pytest(root: Path) -> None:
    """pytest's place comes with what pytest says of it, not with the exception's bare name."""
    assert places(PYTEST_LONG, root) == [
        ("tests/test_pages.py", 7, None, "assert 3 == 2"),
        ("src/pages.py", 3, None, "ZeroDivisionError: integer division or modulo by zero"),
    ]
    assert places(PYTEST_SHORT, root) == [
        ("src/pages.py", 3, None, "ZeroDivisionError: integer division or modulo by zero")
    ]


def test_each_place_once_and_not_too_many(root: Path) -> None:
    """The first ones stay; a place is told once, and a long message is cut."""
    (root / "main.c").write_text("\n" * 99)
    lines = [f"main.c:{number}: error: {'x' * 999}" for number in (1, 1, *range(1, 99))]
    found = find(lines, root)
    assert [one["line"] for one in found] == list(range(1, FINDINGS_MAX + 1))
    assert len(found[0]["message"]) == MESSAGE_CHARS


def test_the_tail_is_bounded() -> None:
    """However much a command prints, only the end is kept."""
    tail = Tail(10_000)
    for number in range(5000):
        tail.add(f"line {number}")
    assert 50 < len(list(tail)) < 200
    assert list(tail)[-1] == "line 4999"
    tail.add("x" * 20_000)
    assert list(tail) == []


def test_a_checkout_that_was_made_a_loop(tmp_path: Path) -> None:
    """What a command made of its folder is not ours to trip over."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert find(["main.c:1: error: x"], loop) == []
