"""What the log says of the run's end: the weakest evidence, read line by line as it passes.

Whether the log is complete is `logs`'; what its witness is worth is `verdict`'s.
"""

from __future__ import annotations

import re

from flaude_guest.protocol import parse_exit_line

# Fly's init speaks through the app's own stream after the main process is gone.
INIT_LINE = re.compile(
    r"^\s*(?:INFO |WARN |ERROR )?(?:Main child exited|Starting clean up\.|Umounting |"
    r"\[\s*\d+(?:\.\d+)?\s*\] |Virtual machine exited|Process appears to have been OOM killed)"
)
_PLATFORM_EXIT = re.compile(r"^machine exited with exit code (-?\d{1,5})(, restarting)?")
_PLATFORM_PROVIDER = "runner"


class LogWitness:
    """Feed it each line once, in order."""

    def __init__(self) -> None:
        self.marker: int | None = None
        self.marker_is_last = False
        self.platform_code: int | None = None

    def see(self, message: str, provider: str) -> None:
        if provider == _PLATFORM_PROVIDER:
            self._platform(message)
            return
        if provider not in ("", "app"):
            return
        code = parse_exit_line(message)
        if code is not None:
            self.marker, self.marker_is_last = code, True
        elif message.strip() and not INIT_LINE.match(message):
            self.marker_is_last = False

    def _platform(self, message: str) -> None:
        found = _PLATFORM_EXIT.match(message)
        if found is None:
            return
        code, restarting = found.groups()
        self.platform_code = int(code)
        if restarting:  # all that was said so far is of an older launch
            self.platform_code, self.marker, self.marker_is_last = None, None, False
