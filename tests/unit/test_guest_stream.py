"""Cutting a byte stream into lines and keeping it in a bounded file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from flaude_guest.stream import Lines, Transcript

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.binary(max_size=20).map(lambda part: part.replace(b"x", b"\n")), max_size=20))
def test_however_the_bytes_come_the_lines_are_the_same(parts: list[bytes]) -> None:
    """Chunk borders do not matter, and what is over the limit is counted, not kept."""
    seen: list[tuple[bytes, int]] = []
    lines = Lines(lambda data, lost: seen.append((data, lost)), limit=5)
    for part in parts:
        lines.feed(part)
    lines.finish()
    whole = b"".join(parts).split(b"\n")
    expected = whole[:-1] + ([whole[-1]] if whole[-1] else [])
    assert seen == [(line[:5], max(0, len(line) - 5)) for line in expected]


@given(st.text(alphabet="aé€😀\n", max_size=60), st.integers(1, 9))
def test_a_whole_line_comes_in_pieces(text: str, chunk: int) -> None:
    """With `whole` nothing of a long line is lost, no piece is over the limit, and no character is cut."""
    seen: list[bytes] = []
    lines = Lines(lambda data, lost: seen.append(data) if not lost else None, limit=7, whole=True)
    data = text.encode()
    for start in range(0, len(data), chunk):
        lines.feed(data[start : start + chunk])
    lines.finish()
    assert max(map(len, seen), default=0) <= 7
    assert "".join(piece.decode() for piece in seen) == text.replace("\n", "")


def test_a_transcript_is_kept_as_it_came(tmp_path: Path) -> None:
    """Below its limit the file is the stream, for its owner alone."""
    transcript = Transcript(tmp_path / "t", limit=100)
    transcript.write(b"one\ntw")
    transcript.write(b"o\n")
    transcript.close()
    assert (tmp_path / "t").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
    assert not transcript.cut


def test_a_full_transcript_says_so(tmp_path: Path) -> None:
    """At its limit the file ends with a note, whatever still comes."""
    transcript = Transcript(tmp_path / "t", limit=10)
    for _ in range(5):
        transcript.write(b"12345678")
    transcript.close()
    kept, note = (tmp_path / "t").read_bytes().split(b"\n", 1)
    assert kept == b"1234567812"
    assert json.loads(note) == {"type": "flaude", "subtype": "transcript_cut", "limit_bytes": 10}
    assert transcript.cut


def test_a_disk_that_is_full_is_survived() -> None:
    """A transcript that cannot be written is marked, and the run goes on."""
    transcript = Transcript.__new__(Transcript)
    transcript._room, transcript._limit, transcript.cut, transcript.failed = 10**6, 10**6, False, False
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
        transcript._file = full
        transcript.write(b"x")
    assert transcript.failed
