"""A scripted Messages API in place of the model: the real Claude Code CLI talks to it and does real work.

    python -m localfly.messages --script FILE --port 0      prints {"url": "http://127.0.0.1:PORT"}

`GET /_messages/requests` lists what was asked; `DELETE` forgets it. What a script may say is told in
`messages_script`, the wire format in `messages_wire`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter, deque
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from localfly import messages_wire as wire
from localfly.loopback import listen, serve, serve_forever
from localfly.messages_script import Script, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from localfly.messages_script import Failure

Json = dict[str, Any]

REQUESTS_KEPT = 1000


@asynccontextmanager
async def serve_messages(script: Json, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve a script inside this process until the block ends; yields the URL.

    Raises pydantic.ValidationError when the script is not one.
    """
    async with serve(messages_app(Script.model_validate(script)), listen(host, port)) as url:
        yield url


def messages_app(script: Script) -> Starlette:
    """The API as an ASGI app."""
    api = _Api(script)
    return Starlette(
        routes=[
            Route("/v1/messages", api.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", api.count_tokens, methods=["POST"]),
            Route("/v1/models", api.models, methods=["GET"]),
            Route("/_messages/requests", api.requests, methods=["GET", "DELETE"]),
            Route("/", api.root, methods=["GET", "HEAD"]),
            Route("/{path:path}", api.unknown, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        ]
    )


class _Api:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: deque[Json] = deque(maxlen=REQUESTS_KEPT)
        self.failed: Counter[int] = Counter()

    async def messages(self, request: Request) -> Response:
        body = await self._record(request)
        if not isinstance(body.get("messages"), list):
            return JSONResponse(wire.error_body(400, "messages: Field required"), 400)
        if not self._admitted(request):
            return JSONResponse(wire.error_body(401, "invalid x-api-key"), 401)
        if _is_side_question(body):
            return _answer(body, Turn(text="ok"))
        turn = self.script.turn_for(body["messages"])
        if turn.fails and turn.times and self.failed[id(turn)] >= turn.times:
            turn = Turn(text=turn.text, tools=turn.tools, stop_reason=turn.stop_reason, usage=turn.usage)
        elif turn.fails:
            self.failed[id(turn)] += 1
        await asyncio.sleep(turn.delay_s)
        if turn.hang:
            await asyncio.Event().wait()
        if turn.error and not turn.error.in_stream:
            return _refusal(turn.error)
        return _answer(body, turn)

    async def count_tokens(self, request: Request) -> Response:
        body = await self._record(request)
        return JSONResponse({"input_tokens": len(str(body)) // 4})

    async def models(self, request: Request) -> Response:
        await self._record(request)
        return JSONResponse({"data": [], "has_more": False, "first_id": None, "last_id": None})

    async def root(self, request: Request) -> Response:
        await self._record(request)
        return Response()

    async def unknown(self, request: Request) -> Response:
        await self._record(request)
        return JSONResponse(wire.error_body(404, f"no such path: {request.url.path}"), 404)

    async def requests(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.seen.clear()
            return Response(status_code=204)
        return JSONResponse(list(self.seen))

    async def _record(self, request: Request) -> Json:
        body: Json = await request.json() if await request.body() else {}
        self.seen.append(
            {
                "method": request.method,
                "path": request.url.path,
                "query": request.url.query,
                "headers": dict(request.headers),
                "body": body,
                "at": time.time(),
            }
        )
        return body

    def _admitted(self, request: Request) -> bool:
        if not self.script.credential:
            return True
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self.script.credential in (bearer, request.headers.get("x-api-key"))


def _is_side_question(body: Json) -> bool:
    """Titles, page summaries and the like, asked of the small model: no script should foresee them."""
    return not body.get("tools") and "haiku" in body.get("model", "")


def _answer(body: Json, turn: Turn) -> Response:
    stop_reason = turn.stop_reason or ("tool_use" if turn.tools else "end_turn")
    model = body.get("model", "scripted")
    whole = wire.message(model, turn.text, turn.tools, stop_reason, turn.usage)
    if body.get("stream"):
        return StreamingResponse(_stream(whole, turn), media_type="text/event-stream")
    return JSONResponse(whole)


async def _stream(whole: Json, turn: Turn) -> AsyncIterator[bytes]:
    events = list(wire.events(whole))
    if not (turn.stall or turn.cut or turn.error):
        for event in events:
            yield event
        return
    for event in events[: len(events) // 2]:
        yield event
    if turn.stall:
        await asyncio.Event().wait()
    if turn.cut:
        # uvicorn closes the connection of an answer that broke off without its last chunk.
        raise ConnectionAbortedError("cut by the script")
    if turn.error:
        yield wire.event(wire.error_body(turn.error.status, turn.error.message))


def _refusal(error: Failure) -> Response:
    if isinstance(error.body, str):
        return Response(error.body, error.status, error.headers, media_type="text/html")
    body = error.body if error.body is not None else wire.error_body(error.status, error.message)
    return JSONResponse(body, error.status, error.headers)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m localfly.messages", description="A scripted Messages API."
    )
    parser.add_argument("--script", type=Path, required=True, help="the JSON file with the turns")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    args = parser.parse_args(argv)
    try:
        script = Script.model_validate_json(args.script.read_bytes())
    except (OSError, ValidationError) as error:
        parser.error(f"{args.script}: {error}")
    serve_forever(messages_app(script), host=args.host, port=args.port)


if __name__ == "__main__":
    main()
