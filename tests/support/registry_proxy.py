"""A loopback proxy before a registry: it counts what is asked, and can refuse, delay or want credentials.

For the engine and for our own client alike: both speak HTTP to a registry on loopback.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BEARER = "a-token-of-the-registry"


@dataclass(frozen=True)
class Asked:
    """One request: method and path (without query), and the status it got."""

    method: str
    path: str
    status: int
    authorization: str


@dataclass
class Proxy:
    """What the proxy saw and does. A request is in `asked` before its answer goes out."""

    address: str
    upstream: str
    asked: list[Asked] = field(default_factory=list)
    refusals: list[tuple[str, int, str, dict[str, str]]] = field(default_factory=list)
    delays: list[tuple[str, float]] = field(default_factory=list)
    basic: tuple[str, str] | None = None
    bearer: tuple[str, str] | None = None
    denies_basic: bool = False
    """Whether Basic is refused without a challenge, as GitHub's registry does."""

    def refuse(self, pattern: str, status: int, text: str = "", **headers: str) -> None:
        """Answer like this, in the registry's place, where the pattern is found in "METHOD /path"."""
        self.refusals.append((pattern, status, text, headers))

    def delay(self, pattern: str, seconds: float) -> None:
        self.delays.append((pattern, seconds))

    def lookups(self, name: str) -> list[Asked]:
        """The requests for manifests of a repository."""
        return [one for one in self.asked if f"/v2/{name}/manifests/" in one.path]

    def until_asked(self, count: int) -> None:
        """Wait until so many requests were answered."""
        while len(self.asked) < count:
            time.sleep(0.01)

    def writes(self) -> list[Asked]:
        return [one for one in self.asked if one.method in ("POST", "PUT", "PATCH")]

    def challenge(self, path: str, authorization: str) -> str | None:
        """The challenge a request gets instead of an answer, None when its credentials are good."""
        if self.basic and authorization != _basic(*self.basic):
            return 'Basic realm="test"'
        if self.bearer and authorization != f"Bearer {BEARER}":
            found = re.match(r"/v2/(.+)/(?:manifests|blobs)/", path)
            scope = f',scope="repository:{found[1]}:pull,push"' if found else ""
            return f'Bearer realm="http://{self.address}/token",service="test"{scope}'
        return None


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextlib.contextmanager
def registry_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before the registry at `host:port`, with an address of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    proxy = Proxy(f"127.0.0.1:{server.server_port}", upstream)
    _Handler.proxies[server.server_port] = proxy
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        del _Handler.proxies[server.server_port]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxies: dict[int, Proxy] = {}  # noqa: RUF012 - one table for all servers, by port

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_any(self) -> None:
        assert isinstance(self.server, ThreadingHTTPServer)
        proxy = self.proxies[self.server.server_port]
        path, authorization = self.path.partition("?")[0], self.headers.get("authorization", "")
        for pattern, seconds in proxy.delays:
            if re.search(pattern, f"{self.command} {path}"):
                time.sleep(seconds)
        self._answer(proxy, path, authorization)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815

    def log_message(self, *_: Any) -> None:
        return

    def _answer(self, proxy: Proxy, path: str, authorization: str) -> None:
        def note(status: int) -> None:
            proxy.asked.append(Asked(self.command, path, status, authorization))

        for pattern, status, text, headers in proxy.refusals:
            if re.search(pattern, f"{self.command} {path}"):
                note(status)
                return self._say(status, text, headers)
        if path == "/token":
            good = authorization == _basic(*proxy.bearer) if proxy.bearer else False
            note(status := 200 if good else 401)
            return self._say(status, json.dumps({"token": BEARER}) if good else "no")
        if proxy.denies_basic and authorization.startswith("Basic "):
            note(403)
            return self._say(403, '{"errors":[{"code":"DENIED","message":"invalid token"}]}')
        if challenge := proxy.challenge(path, authorization):
            note(401)
            unknown = '{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}'
            return self._say(401, unknown, {"www-authenticate": challenge})
        return self._forward(proxy.upstream, note)

    def _say(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self.close_connection = True  # whatever the request's body still holds is not read
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.send_header("connection", "close")
        self.send_header("content-type", "application/json" if text.startswith("{") else "text/plain")
        for name, value in (headers or {}).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def _forward(self, upstream: str, note: Callable[[int], None]) -> None:
        connection = http.client.HTTPConnection(upstream, timeout=60)
        try:
            # The Host header goes along: the registry names the next URL of an upload by it.
            headers = {
                key: ", ".join(self.headers.get_all(key, []))  # an engine sends many `accept`
                for key in self.headers
                if key.lower() != "authorization"
            }
            connection.request(
                self.command, self.path, self._body(), headers, encode_chunked="chunked" in str(headers)
            )
            answer = connection.getresponse()
            note(answer.status)
            self.send_response_only(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(key, value)
            if answer.getheader("content-length") is None:
                self.close_connection = True
                self.send_header("connection", "close")
            self.end_headers()
            while chunk := answer.read(1 << 16):
                self.wfile.write(chunk)
        finally:
            connection.close()

    def _body(self) -> Iterator[bytes] | bytes | None:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return self._chunks()
        length = int(self.headers.get("content-length") or 0)
        return self.rfile.read(length) if length else None

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            while size:
                part = self.rfile.read(min(size, 1 << 16))
                size -= len(part)
                yield part
            self.rfile.readline()
        self.rfile.readline()
