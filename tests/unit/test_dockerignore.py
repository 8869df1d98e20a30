"""What `.dockerignore` leaves out. That Docker's own program agrees is shown by the journey tests."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaude_action.dockerignore import DockerIgnore, _fits, _pattern
from flaude_action.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("", [], ["a", "a/b"]),
        ("# a\n\n", [], ["a", "# a"]),
        ("docs", ["docs", "docs/a", "docs/a/b"], ["docs2", "a/docs"]),
        ("/docs/", ["docs", "docs/a"], ["a/docs"]),
        ("./docs//a/../b", ["docs/b"], ["docs/a", "docs"]),
        ("*.md", ["a.md", "a.md/b"], ["a/b.md", "a.mdx"]),
        ("**/*.md", ["a.md", "a/b.md", "a/b/c.md"], ["a.txt"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["z", "a/zz"]),
        ("*/temp*", ["a/temp", "a/temporary.txt"], ["temp", "a/b/temp"]),
        ("temp?", ["tempa", "tempb"], ["temp", "temp/a", "tempab"]),
        ("[a-c].txt", ["a.txt", "c.txt"], ["d.txt", "[a-c].txt"]),
        ("[^a].txt", ["b.txt"], ["a.txt"]),
        (r"\*.txt", ["*.txt"], ["a.txt"]),
        ("*\n!keep", ["a", "b/c"], ["keep", "keep/a"]),
        ("*\n!src/a", ["src", "src/b"], ["src/a", "src/a/b"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md", "README-a.md"]),
        ("a.b", ["a.b"], ["aXb"]),
        ("\ufeffdocs", ["docs"], ["a"]),
        (".", [], ["a", "."]),
        ("a\u2028b\r\nc\r\n", ["a\u2028b", "c"], ["a", "b"]),
    ],
)
def test_the_last_pattern_that_fits_decides(text: str, ignored: list[str], kept: list[str]) -> None:
    """Patterns name paths from the context's root, and everything inside them."""
    ignore = DockerIgnore(text)
    assert [path for path in ignored + kept if ignore.ignores(path)] == ignored


@pytest.mark.parametrize(
    ("text", "folder", "possible"),
    [
        ("*\n!src/a", "src", True),
        ("*\n!src/a", "docs", False),
        ("*\n!**/a", "docs", True),
        ("*\n!a/*/c", "a/b", True),
        ("*\n!a", "a/b", True),
        ("*", "a", False),
    ],
)
def test_a_folder_is_looked_into_when_something_of_it_may_be_kept(
    text: str, folder: str, possible: bool
) -> None:
    """Folders that are left out whole are not walked through: they may be huge."""
    assert DockerIgnore(text).may_keep_inside(folder) is possible


@pytest.mark.parametrize("text", ["!", "[", "a[", "[]", "a\\", "[b-a]"])
def test_a_pattern_that_cannot_be_read(text: str) -> None:
    """It is refused; leaving it out would send what was meant to stay.

    By number: the file may be a link to one that nobody wanted to show.
    """
    with pytest.raises(ConfigError, match=r"a pattern that cannot be read, in line 3\.") as raised:
        DockerIgnore(f"# secret\n\n{text}\n")
    assert text not in raised.value.message.replace("`.dockerignore`", "")


@pytest.mark.parametrize("pattern", ["**/" * 8 + "x", "*a" * 8 + "b", "**a" * 8 + "b", "**/*a*a*a*a*b/**/c"])
def test_a_pattern_with_many_stars_is_no_trap(pattern: str) -> None:
    """Patterns and names are a pull request's; no expression for them can be stopped once it is tried."""
    assert not DockerIgnore(pattern).ignores("a" * 100 + "/a" * 200)


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?", "[ab]", r"\\*"]), min_size=1, max_size=8),
    st.text("ab/*", min_size=1, max_size=12),
)
def test_many_stars_mean_what_few_do(words: list[str], path: str) -> None:
    """Both ways to look for a pattern say the same."""
    try:
        pattern = _pattern("".join(words))
    except LookupError:
        return
    regex = re.compile("".join(pattern.parts) + "(?:/.*)?", re.DOTALL)
    assert _fits(pattern._letters, path) == (regex.fullmatch(path) is not None)
