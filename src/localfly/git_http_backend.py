"""Run git's own CGI program for one request: https://git-scm.com/docs/git-http-backend.

Who may ask for what is decided in `githost`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

CHUNK_BYTES = 64 * 1024

_GIT_CONFIG = {
    # GitHub lets any commit be fetched by its SHA.
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
    "http.getanyfile": "false",
    "http.receivepack": "false",
    # The folder may belong to whoever wrote the test; serving it is what this program is for.
    "safe.directory": "*",
}


async def http_backend(repository: Path, request: Request) -> Response:
    """Answer one smart HTTP request about a bare repository; the path after it is `what` of the route."""
    # The body holds wants and haves, a few MB at the very most.
    body = await request.body()
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        env=_cgi(repository, request, len(body)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None  # noqa: S101 - given as PIPE above
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(body)
    process.stdin.write_eof()
    status, headers = 200, {}
    while line := (await process.stdout.readline()).strip():
        key, _, value = line.decode("latin-1").partition(":")
        if key.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[key] = value.strip()
    return StreamingResponse(_output(process, process.stdout), status, headers)


async def _output(process: asyncio.subprocess.Process, stdout: asyncio.StreamReader) -> AsyncIterator[bytes]:
    try:
        while chunk := await stdout.read(CHUNK_BYTES):
            yield chunk
    finally:
        if process.returncode is None and not stdout.at_eof():
            process.kill()
        await process.wait()


def _cgi(repository: Path, request: Request, length: int) -> dict[str, str]:
    return {
        **quiet_environment(),
        "GIT_PROJECT_ROOT": str(repository),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "PATH_INFO": "/" + request.path_params["what"],
        "QUERY_STRING": request.url.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(length),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "REMOTE_ADDR": request.client.host if request.client else "",
    }


def quiet_environment() -> dict[str, str]:
    """Variables for git: GitHub's settings, and nobody else's."""
    config = {"GIT_CONFIG_COUNT": str(len(_GIT_CONFIG))}
    for index, (key, value) in enumerate(_GIT_CONFIG.items()):
        config[f"GIT_CONFIG_KEY_{index}"] = key
        config[f"GIT_CONFIG_VALUE_{index}"] = value
    return {
        **config,
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
