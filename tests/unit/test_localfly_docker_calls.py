"""localfly.docker_calls: the engine's log entries as lines."""

from localfly.docker_calls import LineJoiner

OUT, ERR = 1, 2


def entry(second: int, text: str) -> bytes:
    return f"2026-11-21T00:00:0{second}.000000007Z {text}".encode()


def lines(*entries: tuple[int, str], after_ns: int = 0) -> list[bytes]:
    """All lines of (stream, text) entries that come a second apart."""
    joiner = LineJoiner(after_ns)
    taken = [joiner.take(stream, entry(second, text)) for second, (stream, text) in enumerate(entries)]
    return [line for _, line in [*filter(None, taken), *joiner.unfinished()]]


def test_entries_are_lines_with_exact_times() -> None:
    """Nine digits of the engine's time survive."""
    taken = LineJoiner().take(OUT, entry(0, "hello world\n"))
    assert taken is not None
    assert (taken[0] % 10**9, taken[1]) == (7, b"hello world")


def test_a_long_line_comes_in_entries_and_is_joined() -> None:
    """Only the last entry of a line has its end; a line without end is a line when the stream is over."""
    entries = ((OUT, "a" * 16384), (OUT, "b\n"), (OUT, "\n"), (OUT, "rest"))
    assert lines(*entries) == [b"a" * 16384 + b"b", b"", b"rest"]


def test_the_streams_are_joined_apart() -> None:
    """A line of stderr between the parts of a long line of stdout does not become part of it."""
    assert lines((OUT, "lo"), (ERR, "error\n"), (OUT, "ng\n"), (ERR, "e"), (OUT, "o")) == [
        b"error",
        b"long",
        b"e",
        b"o",
    ]


def test_a_line_that_never_ends_is_cut() -> None:
    """Memory stays bounded however long the line is."""
    pieces = lines(*([(OUT, "x" * 500_000)] * 5))
    assert [len(piece) for piece in pieces] == [1_500_000, 1_000_000]


def test_what_was_told_before_is_not_told_again() -> None:
    """After a restart the entries up to a time are dropped."""
    first = LineJoiner().take(OUT, entry(0, "a\n"))
    assert first is not None
    assert lines((OUT, "a\n"), (OUT, "b\n"), after_ns=first[0]) == [b"b"]
