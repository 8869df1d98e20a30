"""How a step hears that it is to stop, and what ends it when it cannot.

The runner cancels with SIGINT, 7.5 s later SIGTERM; 2.5 s after that it leaves the container alone, for ever.
https://docs.github.com/en/actions/reference/workflow-cancellation-reference
What a stop means for the run is `execution`'s.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from flaude_action.waiting import Cancellation

ASKED_S = 10.0
"""After the first signal: everything is done in 6 s, and after 10 s nobody waits for it any more."""
INSISTED_S = 4.0
"""After the second one: what is destroyed at once is destroyed by then; else `post` finds it."""
EXIT_CANCELLED = 130


class Listener:
    """Tells `cancellation` on its loop of every signal. So many seconds after the first, or after the second,
    the process ends, whatever the loop is busy with and whatever the interpreter waits for; with the third it
    ends at once.

    That is left to a thread of C's own, which needs no turn of Python's. It is never called off: a step that
    ends by itself ends the process, and the thread with it.
    """

    def __init__(
        self, cancellation: Cancellation, *, asked_s: float = ASKED_S, insisted_s: float = INSISTED_S
    ) -> None:
        self._cancellation = cancellation
        self._seconds = (asked_s, insisted_s)
        self._loop = asyncio.get_running_loop()
        self._heard = 0
        self._end = float("inf")
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open as long as the process

    def listen(self) -> None:
        # Not `loop.add_signal_handler`: that one is heard when the loop has nothing else to do.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)
        # The container's program has held them back until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._heard += 1
        if self._heard > len(self._seconds):
            os._exit(EXIT_CANCELLED)
        now = time.monotonic()
        self._end = min(self._end, now + self._seconds[self._heard - 1])
        faulthandler.dump_traceback_later(max(0.001, self._end - now), exit=True, file=self._nowhere)
        with suppress(RuntimeError):  # the loop has ended
            request = partial(self._cancellation.request, at_once=number == signal.SIGTERM)
            self._loop.call_soon_threadsafe(request)
