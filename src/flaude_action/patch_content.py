"""What stands in a git patch as texts to search: bytes in bounded slices, and binary content inflated.

Which bytes belong to which file is `patch_secrets`'. Binary content is what git's `base85.c`, `diff-delta.c`
and zlib make of it. https://git-scm.com/docs/pack-format#_deltified_representation
"""

from __future__ import annotations

import sys
import zlib
from array import array
from typing import TYPE_CHECKING, Final

from flaude_action.patch_context import in_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flaude_action.spans import Span

PIECE_BYTES: Final = 64 * 1024
SLICE_BYTES: Final = 128 * 1024
"""So much is searched at once; the interpreter can do something else in between."""
OVERLAP_BYTES: Final = 32 * 1024
"""So much is searched again with what follows: `secret_forms` has no longer one."""
INFLATED_MAX_BYTES: Final = 1024 * 1024 * 1024
"""All binary content of a patch."""
DELTA_WEIGHT: Final = 8
"""How many times as much the bytes of a delta count: it may insert one by one."""
_BETWEEN = "\ue000"
"""Stands between texts that are not adjacent: it is in no secret, and nothing that is shown leaves it out."""
_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_NO_DIGIT: Final = 255
_VALUES: Final = bytes(_DIGITS.find(code) % 256 for code in range(256))
_LINE_BYTES: Final = 52
"""Full lines of base85 hold so much, and say so by a `z`."""


class Search:
    """Texts to look at, each of the file named last; `hits` are the names of files in which one was found.

    Many are looked at together, because patches may have a million parts of a few bytes.
    """

    def __init__(self, found: Callable[[str], bool]) -> None:
        self._found = found
        self._name = ""
        self._waiting: list[tuple[str, str, bytes, tuple[Span, ...]]] = []
        self._chars = 0
        self.inflated = 0
        self.hits: dict[str, None] = {}

    def begin(self, name: str) -> None:
        self._name = name

    def add(self, data: bytes, context: tuple[Span, ...] = ()) -> None:
        """Text in each of its encodings; at most a slice. What is in its `context` alone is no hit."""
        for text in _texts(data):
            self._text(text, data, context)

    def _text(self, text: str, data: bytes, context: tuple[Span, ...]) -> None:
        if not text or self._name in self.hits:
            return
        self._waiting.append((self._name, text, data if context else b"", context))
        self._chars += len(text)
        if self._chars >= SLICE_BYTES:
            self.finish()

    def finish(self) -> None:
        """Look at what waits."""
        waiting, self._waiting, self._chars = self._waiting, [], 0
        if not waiting or not self._found(_BETWEEN.join(text for _, text, _, _ in waiting)):
            return
        for name, text, data, context in waiting:
            if name in self.hits or not self._found(text):
                continue
            if not context or in_changes(data, context, self._found_in_bytes):
                self.hits[name] = None

    def _found_in_bytes(self, data: bytes) -> bool:
        return any(map(self._found, _texts(data)))


def _texts(data: bytes) -> Iterator[str]:
    """As UTF-8 and, where it may be that, as UTF-16 of either order."""
    yield data.decode("utf-8", "surrogateescape")
    if b"\0" in data:
        for text in (data, data[1:]):
            for encoding in ("utf-16-le", "utf-16-be"):
                yield text.decode(encoding, "replace")


class Content:
    """Bytes that belong together, as they come: searched in slices that overlap."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._held = bytearray()
        self._context: list[Span] = []
        self._before: tuple[bytes, tuple[Span, ...]] = b"", ()

    def feed(self, data: bytes, *, context: bool = False) -> None:
        if context and data:
            at = len(self._held)
            beside = self._context and self._context[-1][1] == at
            start = self._context.pop()[0] if beside else at
            self._context.append((start, at + len(data)))
        self._held += data
        while len(self._held) >= SLICE_BYTES:
            self._look(SLICE_BYTES)
            gone = SLICE_BYTES - OVERLAP_BYTES
            del self._held[:gone]
            self._context = [
                (max(first - gone, 0), last - gone) for first, last in self._context if last > gone
            ]

    def end(self) -> None:
        """Nothing more is adjacent to it."""
        self._look(len(self._held))
        self._held.clear()
        self._context.clear()

    def _look(self, size: int) -> None:
        """At so much of its beginning; where all of that is context nothing is searched."""
        data = bytes(self._held[:size])
        context = tuple((first, min(last, size)) for first, last in self._context if first < size)
        if context == ((0, size),):
            return
        if (data, context) != self._before:  # a gigabyte of zeros is one slice
            self._search.add(data, context)
        self._before = data, context


def binary_content(encoded: Iterable[bytes], size: int, search: Search, *, delta: bool) -> None:
    """Search one `literal` or `delta` of a binary patch; `size` is what it says it inflates to.

    Raises ValueError when it is none, or all that was inflated is too much.
    """
    search.inflated += size * (DELTA_WEIGHT if delta else 1)
    if search.inflated > INFLATED_MAX_BYTES:
        raise ValueError("the binary content of the patch is more than can be searched")
    content = Content(search)
    pieces = _inflated(_decoded(encoded), size)
    for piece in _inserted(pieces) if delta else pieces:
        content.feed(piece) if piece else content.end()
    content.end()


def _decoded(encoded: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of base85, each begun by its length: A-Z are 1 to 26 bytes, a-z 27 to 52."""
    full: list[bytes] = []
    for line in encoded:
        letter, digits = line[:1], line[1:]
        length = ord(letter) - (64 if letter.isupper() else 70) if letter.isalpha() else 0
        if not length or len(digits) != (length + 3) // 4 * 5:
            raise ValueError("a line of binary content has another length than it says")
        if length == _LINE_BYTES and len(full) < PIECE_BYTES // _LINE_BYTES:
            full.append(digits)
            continue
        yield _base85(b"".join(full))
        full.clear()
        yield _base85(digits)[:length]
    yield _base85(b"".join(full))


def _base85(digits: bytes) -> bytes:
    """Five digits are four bytes, the highest first: `base64.b85decode` in a third of its time."""
    values = digits.translate(_VALUES)
    if _NO_DIGIT in values:
        raise ValueError("binary content is not in base85")
    words = zip(*(values[at::5] for at in range(5)), strict=True)
    try:
        found = array("I", [(((a * 85 + b) * 85 + c) * 85 + d) * 85 + e for a, b, c, d, e in words])
    except OverflowError:
        raise ValueError("binary content is not in base85") from None
    if sys.byteorder == "little":
        found.byteswap()
    return found.tobytes()


def _inflated(deflated: Iterable[bytes], size: int) -> Iterator[bytes]:
    """What zlib packed, piece by piece, and never more than `size` bytes."""
    unpack, left = zlib.decompressobj(), size
    try:
        for data in deflated:
            while data and not unpack.eof:
                piece = unpack.decompress(data, PIECE_BYTES)
                data = unpack.unconsumed_tail
                left -= len(piece)
                if left < 0:
                    raise ValueError("binary content is longer than it says")
                if piece:
                    yield piece
            if data or unpack.unused_data:
                raise ValueError("binary content goes on after its end")
        rest = unpack.flush() if not unpack.eof else b""
    except zlib.error as error:
        raise ValueError("binary content cannot be inflated") from error
    if rest or left or not unpack.eof:
        raise ValueError("binary content is shorter than it says")


def _inserted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a delta inserts; b"" where it copies from the old file, which is not here."""
    held = bytearray()
    sizes_left = 2
    for piece in pieces:
        held += piece
        at = 0
        while at < len(held):
            code = held[at]
            if sizes_left:
                sizes_left -= code < 0x80
                at += 1
                continue
            end = at + 1 + (bin(code & 0x7F).count("1") if code & 0x80 else code)
            if end > len(held):
                break
            if not code:
                raise ValueError("a binary delta is of no known form")
            yield b"" if code & 0x80 else bytes(held[at + 1 : end])
            at = end
        del held[:at]
    if held or sizes_left:
        raise ValueError("a binary delta is cut")
