"""Many words looked for at once, in a time that depends on the text and hardly on how many they are.

A keystore of 800 lines is 800 words, and whoever writes the text may know how each begins. What the words are
is `secret_forms`', what is done with the places `redaction`'s; few words are found faster by `spans`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from flaude_action.secret_forms import SHORTEST_FORM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flaude_action.spans import Span

MANY_HEADS = 250
"""From so many on, the text's bytes are looked up among them, and not each of them in the text."""
_WIDTH = 8
"""As many bytes are one whole number to `memoryview`; a head has no fewer."""


class Heads:
    """How each of the words begins, to ask of any text at once which of them may stand in it."""

    def __init__(self) -> None:
        self._words: dict[str, list[str]] = {}
        self._numbers: dict[int, list[str]] = {}

    def add(self, word: str) -> None:
        head = word[:SHORTEST_FORM]
        if head not in self._words:
            (number,) = memoryview(_encoded(head)[:_WIDTH]).cast("Q")
            self._numbers.setdefault(number, []).append(head)
        self._words.setdefault(head, []).append(word)

    def begun_in(self, text: str) -> list[str]:
        """The words whose head is in the text."""
        heads = self._words if len(self._words) < MANY_HEADS else self._numbered_in(text)
        return [word for head in heads if head in text for word in self._words[head]]

    def _numbered_in(self, text: str) -> list[str]:
        """The heads that may be in the text: each eight of its bytes, from each on, looked up as a number.

        Four times as fast as to take as many strings out of it.
        """
        data = memoryview(_encoded(text))
        found: set[int] = set()
        for first in range(min(_WIDTH, len(data))):
            whole = (len(data) - first) // _WIDTH * _WIDTH
            found |= self._numbers.keys() & data[first : first + whole].cast("Q")
        return [head for number in found for head in self._numbers[number]]


class Words:
    """The words that may stand in one text, each at least as long as a head."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted(words)
        self._heads = {word[:SHORTEST_FORM] for word in self._words}
        self._longest = max(map(len, self._words))
        self._within: dict[str, str] = {}
        above: list[str] = []
        for word in self._words:
            while above and not word.startswith(above[-1]):
                above.pop()
            self._within[word] = above[-1] if above else ""
            above.append(word)

    def whole(self, text: str) -> set[str]:
        """Those that stand in the text; of two that begin at the same place, the longer."""
        found: set[str] = {""}
        before = ""
        for _, here in self._begun(text):
            if here != before:
                before = here
                found.add(self._whole_at(here)[1])
        return found - {""}

    def spans(self, text: str, cuts: Iterable[Span]) -> Iterator[Span]:
        """Where one stands, or, up to a cut, how one begins; in the order of the starts.

        What is the same as at the start before is not looked up again: in a thousand `A` each is a start.
        """
        ends = array("L", (end for end, _ in cuts))
        before, at, word, same = "", 0, "", -1
        for start, here in self._begun(text):
            if here != before:
                before, (at, word), same = here, self._whole_at(here), -1
            end = start + len(word)
            first = bisect_left(ends, max(end, start + SHORTEST_FORM))
            if first < len(ends) and ends[first] <= start + len(here):
                if same < 0:
                    same = max(_common(here, near) for near in self._words[max(0, at - 1) : at + 1])
                last = bisect_right(ends, start + same) - 1
                end = max(end, ends[last] if last >= first else 0)
            if end > start:
                yield start, end

    def _begun(self, text: str) -> Iterator[tuple[int, str]]:
        """Where one may begin, and what stands there."""
        heads, longest = self._heads, self._longest
        for start in range(len(text) - SHORTEST_FORM + 1):
            if text[start : start + SHORTEST_FORM] in heads:
                yield start, text[start : start + longest]

    def _whole_at(self, here: str) -> tuple[int, str]:
        """The place of a text among the words, and the longest of them that it begins with, or none.

        That word, when there is one, is the one before that place or one that is the beginning of it.
        """
        at = bisect_right(self._words, here)
        word = self._words[at - 1] if at else ""
        while not here.startswith(word):
            word = self._within[word]
        return at, word


def _common(one: str, other: str) -> int:
    """How many characters at their beginnings are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
