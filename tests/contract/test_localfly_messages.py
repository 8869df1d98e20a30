"""The scripted Messages API: which turn is given, how it looks on the wire, how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import ValidationError

from localfly.messages import messages_app, serve_messages
from localfly.messages_script import Script

if TYPE_CHECKING:
    from pathlib import Path

TOOL = {"name": "Bash", "input": {"command": "echo hi", "timeout": 5}}


def api(script: dict[str, Any]) -> httpx.AsyncClient:
    """A client of the API served without a socket."""
    app = messages_app(Script.model_validate(script))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://model.test")


def asked(
    *texts: str, model: str = "claude-x", tools: tuple[str, ...] = ("Bash",), **more: Any
) -> dict[str, Any]:
    """A request whose conversation alternates user, assistant, user, ..."""
    roles = ("user", "assistant")
    conversation = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {
        "model": model,
        "max_tokens": 9,
        "messages": conversation,
        "tools": [{"name": t} for t in tools],
        **more,
    }


def events(body: str) -> list[dict[str, Any]]:
    """The data of each server-sent event; the event's name must repeat its type."""
    found = []
    for block in body.strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


async def test_turns_follow_the_conversation() -> None:
    """The turn is the one after as many as the conversation has assistant messages; the last one repeats."""
    async with api({"turns": [{"text": "one"}, {"text": "two"}]}) as client:
        said = []
        for texts in (("hi",), ("hi", "one", "go"), ("hi", "one", "go", "two", "more"), ("hi",)):
            answer = await client.post("/v1/messages", json=asked(*texts))
            said.append(answer.json()["content"][0]["text"])
    assert said == ["one", "two", "two", "one"]


async def test_messages_of_other_roles_do_not_count() -> None:
    """Only assistant messages are turns already played."""
    request = asked("hi")
    request["messages"].append({"role": "system", "content": "environment"})
    async with api({"turns": [{"text": "one"}, {"text": "two"}]}) as client:
        answer = await client.post("/v1/messages", json=request)
    assert answer.json()["content"] == [{"type": "text", "text": "one"}]


async def test_a_matching_turn_goes_first() -> None:
    """A turn with `match` answers whenever the newest user message has it, and is left out of the count."""
    script = {"turns": [{"match": "verify f.iled", "text": "again"}, {"text": "one"}]}
    blocks = [{"type": "text", "text": "verify failed:"}, {"type": "text", "text": "2 tests"}]
    async with api(script) as client:
        plain = await client.post("/v1/messages", json=asked("hi"))
        request = {**asked("hi"), "messages": [{"role": "user", "content": blocks}]}
        matched = await client.post("/v1/messages", json=request)
        later = await client.post("/v1/messages", json=asked("verify failed", "again", "hi"))
    assert [a.json()["content"][0]["text"] for a in (plain, matched, later)] == ["one", "again", "one"]


async def test_a_whole_message() -> None:
    """Without `stream` the answer is one JSON message with the tool calls and the fitting stop reason."""
    async with api(
        {"turns": [{"text": "I look.", "tools": [TOOL], "usage": {"output_tokens": 7}}]}
    ) as client:
        message = (await client.post("/v1/messages", json=asked("hi"))).json()
    assert message["role"] == "assistant"
    assert message["model"] == "claude-x"
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["output_tokens"] == 7
    text, tool = message["content"]
    assert text == {"type": "text", "text": "I look."}
    assert {k: tool[k] for k in ("type", "name", "input")} == {"type": "tool_use", **TOOL}


async def test_a_streamed_message() -> None:
    """With `stream` the message comes as the API's events, in its order, and adds up to the same."""
    text = "A text that is long enough for several deltas, with ünïcode."
    async with api({"turns": [{"text": text, "tools": [TOOL]}]}) as client:
        answer = await client.post("/v1/messages", json=asked("hi", stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = events(answer.text)
    kinds = [event["type"] for event in seen if event["type"] not in ("content_block_delta", "ping")]
    block = ["content_block_start", "content_block_stop"]
    assert kinds == ["message_start", *block, *block, "message_delta", "message_stop"]
    assert seen[0]["message"]["content"] == []
    assert seen[0]["message"]["stop_reason"] is None
    deltas = [event["delta"] for event in seen if event["type"] == "content_block_delta"]
    assert "".join(d["text"] for d in deltas if d["type"] == "text_delta") == text
    partial = "".join(d["partial_json"] for d in deltas if d["type"] == "input_json_delta")
    assert json.loads(partial) == TOOL["input"]
    assert seen[-2]["delta"]["stop_reason"] == "tool_use"


async def test_an_http_error() -> None:
    """An error turn has its status, its headers and the API's error document."""
    error = {"status": 529, "message": "Overloaded", "headers": {"retry-after": "3"}}
    async with api({"turns": [{"error": error}]}) as client:
        answer = await client.post("/v1/messages", json=asked("hi"))
    assert answer.status_code == 529
    assert answer.headers["retry-after"] == "3"
    assert answer.json()["error"] == {"type": "overloaded_error", "message": "Overloaded"}


async def test_an_error_with_its_own_body() -> None:
    """A body given as text is sent as it is: what a gateway in between would say."""
    async with api({"turns": [{"error": {"status": 502, "body": "<html>bad gateway</html>"}}]}) as client:
        answer = await client.post("/v1/messages", json=asked("hi"))
    assert (answer.status_code, answer.text) == (502, "<html>bad gateway</html>")


async def test_a_failure_with_an_end() -> None:
    """`times` bounds a failure: afterwards the turn's own text is given."""
    async with api({"turns": [{"error": {"status": 500}, "times": 2, "text": "better"}]}) as client:
        answers = [await client.post("/v1/messages", json=asked("hi")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 500, 200]
    assert answers[2].json()["content"][0]["text"] == "better"


async def test_an_error_inside_the_stream() -> None:
    """`in_stream` starts a good stream and ends it with an error event."""
    error = {"status": 529, "message": "Overloaded", "in_stream": True}
    async with api({"turns": [{"text": "never whole", "error": error}]}) as client:
        answer = await client.post("/v1/messages", json=asked("hi", stream=True))
    seen = events(answer.text)
    assert answer.status_code == 200
    assert seen[0]["type"] == "message_start"
    assert seen[-1]["error"]["type"] == "overloaded_error"


async def test_a_cut_stream() -> None:
    """`cut` closes the connection in the middle of the answer."""
    async with (
        serve_messages({"turns": [{"text": "never whole", "cut": True}]}) as url,
        httpx.AsyncClient() as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await client.post(f"{url}/v1/messages", json=asked("hi", stream=True))


@pytest.mark.parametrize("how", ["hang", "stall"])
async def test_a_model_that_goes_silent(how: str) -> None:
    """`hang` never answers and `stall` never goes on; neither holds up the server's own end."""
    async with serve_messages({"turns": [{"text": "slow", how: True}]}) as url, httpx.AsyncClient() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(f"{url}/v1/messages", json=asked("hi", stream=True), timeout=0.05)


@pytest.mark.parametrize("headers", [{"x-api-key": "k1"}, {"authorization": "Bearer k1"}])
async def test_the_right_credential(headers: dict[str, str]) -> None:
    """A script with a credential admits it as an API key and as a bearer token."""
    async with api({"turns": [{"text": "one"}], "credential": "k1"}) as client:
        answer = await client.post("/v1/messages", json=asked("hi"), headers=headers)
    assert answer.status_code == 200


async def test_a_wrong_credential() -> None:
    """A script with a credential refuses any other as the API does."""
    async with api({"turns": [{"text": "one"}], "credential": "k1"}) as client:
        answer = await client.post("/v1/messages", json=asked("hi"), headers={"x-api-key": "dummy"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")


async def test_side_questions_are_no_turns() -> None:
    """What Claude Code asks of the small model gets a harmless answer; the same without tools but of the main
    model is a turn."""
    async with api({"turns": [{"error": {"status": 500}}]}) as client:
        side = await client.post("/v1/messages", json=asked("A title?", model="claude-haiku-4-5", tools=()))
        main = await client.post("/v1/messages", json=asked("hi", tools=()))
    assert (side.status_code, main.status_code) == (200, 500)


async def test_the_other_paths_of_the_api() -> None:
    """The CLI's probes are answered; what does not exist is the API's own 404."""
    async with api({"turns": [{"text": "one"}]}) as client:
        count = await client.post("/v1/messages/count_tokens", json=asked("hi"))
        models = await client.get("/v1/models")
        probe = await client.head("/")
        unknown = await client.get("/api/hello")
        empty = await client.post("/v1/messages", json={"model": "x"})
    assert count.json()["input_tokens"] > 0
    assert models.json()["data"] == []
    assert probe.status_code == 200
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    assert (empty.status_code, empty.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_requests_are_remembered() -> None:
    """Each request can be read back with its headers and body, until they are forgotten."""
    async with api({"turns": [{"text": "one"}]}) as client:
        await client.post("/v1/messages?beta=true", json=asked("hi"), headers={"x-api-key": "k1"})
        (seen,) = (await client.get("/_messages/requests")).json()
        await client.delete("/_messages/requests")
        left = (await client.get("/_messages/requests")).json()
    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/v1/messages", "beta=true")
    assert seen["headers"]["x-api-key"] == "k1"
    assert seen["body"]["messages"][0]["content"] == "hi"
    assert left == []


@pytest.mark.parametrize("script", [{}, {"turns": [{"txet": "typo"}]}, {"turns": [{"error": {"body": "x"}}]}])
def test_a_wrong_script(script: dict[str, Any]) -> None:
    """A misspelt or half-given script is refused, not guessed at."""
    with pytest.raises(ValidationError):
        Script.model_validate(script)


def test_the_program(tmp_path: Path) -> None:
    """`python -m localfly.messages` says where it listens, answers, and ends cleanly on SIGTERM."""
    script = tmp_path / "script.json"
    script.write_text('{"turns": [{"text": "one"}]}')
    command = [sys.executable, "-m", "localfly.messages", "--script", str(script)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as program:
        assert program.stdout is not None
        url = json.loads(program.stdout.readline())["url"]
        request = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        answer = httpx.post(f"{url}/v1/messages", json=request)
        program.terminate()
    assert program.returncode == 0
    assert answer.json()["content"][0]["text"] == "one"
