"""The script of the scripted Messages API: what the model says and does, turn by turn, and how it fails.

A script is `{"turns": [...], "credential": ""}`. The conversation in a request has as many assistant messages
as turns were already played, so the next turn follows from the request alone; past the end the last turn is
played again. A turn:

    text, tools [{name, input}]      what the model says and calls
    match                            a regular expression: this turn answers whenever the newest user message
                                     has it, and is left out of the count
    stop_reason, usage, delay_s      as they are called; `delay_s` is waited before the first byte
    error {status, message, body, headers, in_stream}, hang, stall, cut
                                     how it fails: an HTTP error (or an SSE error event), no answer, a stream
                                     that starts and stalls, a stream that breaks off
    times                            the failure is given so often (per turn), then text and tools; 0: always

With `credential` set, a request that does not carry it is refused with 401. The server is in `messages`.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tool(_Strict):
    """One tool call."""

    name: str
    input: Json = {}


class Failure(_Strict):
    """An error of the API. `body` replaces the usual error document; as text it is sent as HTML."""

    status: int
    message: str = "scripted error"
    body: Json | str | None = None
    headers: dict[str, str] = {}
    in_stream: bool = False


class Turn(_Strict):
    """One answer of the model; the fields are told in the module's docstring."""

    text: str = ""
    tools: list[Tool] = []
    match: str | None = None
    stop_reason: str = ""
    usage: Json = {}
    delay_s: float = 0.0
    error: Failure | None = None
    hang: bool = False
    stall: bool = False
    cut: bool = False
    times: int = 0

    @property
    def fails(self) -> bool:
        return self.error is not None or self.hang or self.stall or self.cut


class Script(_Strict):
    """All turns, and the credential a request must carry (empty: any)."""

    turns: list[Turn]
    credential: str = ""

    def turn_for(self, conversation: list[Json]) -> Turn:
        """The turn that answers a request with these `messages`."""
        newest = _newest_user_text(conversation)
        for turn in self.turns:
            if turn.match is not None and re.search(turn.match, newest):
                return turn
        counted = [turn for turn in self.turns if turn.match is None]
        if not counted:
            return Turn(error=Failure(status=400, message="the script has no turn for this"))
        played = [message["role"] for message in conversation].count("assistant")
        return counted[min(played, len(counted) - 1)]


def _newest_user_text(conversation: list[Json]) -> str:
    for message in reversed(conversation):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return "\n".join(str(block.get("text") or block.get("content") or "") for block in content)
    return ""
