"""What an engine tells while it pulls, builds or pushes, as lines for people; the last of them are kept.

The texts are a build's own output, so they are untrusted; making them harmless is the printer's.
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageBuild
"""

from __future__ import annotations

import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_LINES: Final = 40
LINE_CHARS: Final = 1000
FOLD_S: Final = 3.0
"""Layers of a pull or a push are told once in this many seconds."""
_NOISE = re.compile(r"(?: ---> (?:Running in )?|Removing intermediate container )(?:[0-9a-f]{12})?")
"""What the builder says of its own containers and layers."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LINE_END = re.compile(r"[\r\n]")
_ENDED = ("Pushed", "Layer already exists", "Mounted from", "Pull complete", "Already exists")


class BuildProgress:
    """Tells a stream's events to `say`, a line at a time; `tail` is what was told last.

    `hide` takes our logins out of a text: an engine may quote what it was given for a registry.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        hide: Callable[[str], str] = str,
    ) -> None:
        self._say = say
        self.hide = hide
        self._clock = clock
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._unended = ""
        self._layers: dict[str, tuple[str, int, int]] = {}
        self._folded_at = clock()

    @property
    def tail(self) -> str:
        lines = [*self._kept, self.hide(self._unended)] if self._unended else [*self._kept]
        return "\n".join(lines[-KEPT_LINES:])

    def say(self, text: str) -> None:
        """Whole lines; what had no end so far has one by this."""
        unended, self._unended = self._unended, ""
        for line in [unended, *text.splitlines()]:
            self._line(line)

    def tell(self, event: dict[str, Any]) -> None:
        """One event of a stream."""
        if isinstance(text := event.get("stream"), str):
            self._output(_COLOUR.sub("", text))
        elif isinstance(text := event.get("error"), str):
            self.say(text)
        elif isinstance(text := event.get("status"), str):
            self._status(text, event)

    def begin(self, title: str) -> None:
        """A new stream: its layers have nothing to do with those before."""
        self._layers.clear()
        self._folded_at = self._clock()
        self.say(title)

    def _output(self, text: str) -> None:
        """A piece of a build's output, cut anywhere by the engine: a line is told when it has ended."""
        if _NOISE.fullmatch(text.strip("\r\n")):
            self.say("")
            return
        *ended, unended = _LINE_END.split(self._unended + text)
        for line in ended:
            self._line(line)
        self._unended = unended[:LINE_CHARS]

    def _line(self, line: str) -> None:
        if line.strip() and not _NOISE.fullmatch(line):
            shown = self.hide(line)[:LINE_CHARS]
            self._kept.append(shown)
            self._say(shown)

    def _status(self, status: str, event: dict[str, Any]) -> None:
        layer, detail = event.get("id"), event.get("progressDetail")
        if not isinstance(layer, str) or not isinstance(detail, dict):
            if isinstance(layer, str):
                return  # "Pulling from app": said by whoever began
            self.say(status)
            return
        _, _, known = self._layers.get(layer, ("", 0, 0))
        current, total = detail.get("current"), detail.get("total")
        total = total if isinstance(total, int) else known
        self._layers[layer] = (status, current if isinstance(current, int) else 0, max(total, known))
        if self._clock() - self._folded_at >= FOLD_S:
            self._folded_at = self._clock()
            self.say(self._folded())

    def _folded(self) -> str:
        layers = self._layers.values()
        ended = [one for one in layers if one[0].startswith(_ENDED)]
        moved = sum(total if (status, current, total) in ended else min(current, total)
                    for status, current, total in layers)  # fmt: skip
        size = sum(total for _, _, total in layers)
        return f"  {len(ended)} of {len(layers)} layers, {moved / 1e6:.0f} of {size / 1e6:.0f} MB"
