"""How many bytes of the guest's files to ask for in one exec: the most that comes back whole, found once.

How much of a command's output Fly carries is documented nowhere. Asking, and telling what came, is
`guest_files`'.
"""

from __future__ import annotations

from typing import Final

from flaude_guest.protocol import COLLECT_MAX_BYTES

ENVELOPE_BYTES: Final = 512
"""An answer's text around the data of one part, generously."""
LEAST_BYTES: Final = 8 * 1024
"""No Fly was seen to carry less: what fails at this size fails for another reason."""
WORTH: Final = 8
"""A larger size is looked for only while so many more answers of the present one are due."""

MOST_CUTS: Final = 4
"""A limit that is met so often is none."""


class Chunk:
    """All sizes are bytes before base64.

    An answer that is cut tells how much fits. One that does not come at all may mean an outage as well as too
    much at once: a size that never came whole is doubted, and given up when a small part comes in between.
    """

    def __init__(self, largest: int = COLLECT_MAX_BYTES) -> None:
        self._size = largest
        self._proven = 0
        self._too_large = 0
        self._doubted = self._careful = self._cuts = 0

    def size(self, left: int) -> int:
        """At most so many bytes in the next exec, when `left` are still to come."""
        if self._careful:
            return self._careful
        between = (self._size + self._too_large) // 2
        if left > WORTH * self._size and between > self._size * 8 // 7:
            return between
        return self._size

    def came(self, asked: int) -> None:
        """Whole."""
        self._proven = max(self._proven, asked)
        self._size = max(self._size, asked)
        self._careful = 0

    def cut(self, asked: int, text_bytes: int) -> bool:
        """The answer ended early, after this much of its text. Whether that tells how much fits."""
        fits = (text_bytes - ENVELOPE_BYTES) // 4 * 3
        if self._proven >= asked or not LEAST_BYTES <= fits < asked or self._cuts >= MOST_CUTS:
            return False
        self._cuts += 1
        self._size = max(self._proven, fits)
        self._too_large = 0  # what fits is known exactly
        return True

    def refused(self, asked: int) -> bool:
        """Too much at once, in Fly's own words or in ours. Whether less can be asked for."""
        if asked <= LEAST_BYTES:
            return False
        self._too_large = asked
        self._size = max(self._proven, asked // 2, LEAST_BYTES)
        return True

    def lost(self, asked: int) -> None:
        """No answer at all."""
        if asked <= max(self._proven, LEAST_BYTES):
            return
        if self._doubted == asked:
            self.refused(asked)
        self._doubted = asked
        self._careful = max(self._proven, LEAST_BYTES)
