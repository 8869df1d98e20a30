"""A git host in place of github.com: `git http-backend` behind GitHub's rules of who may see what.

    python -m localfly.githost --root DIR --port 0          prints {"url": "http://127.0.0.1:PORT"}

`DIR/<owner>/<name>.git` is served at `/<owner>/<name>.git` (and without `.git`), read-only. A file
`flaude-private-token` in a repository makes it private: it then needs `x-access-token:<token>` by Basic, or
the token as a bearer. Below `/api/v3/repos/<owner>/<name>` REST knows the repository itself, `commits/<ref>`,
`tarball/<ref>` (see `github_archive`), and what a file like `flaude-api/pulls/7.json` in the repository says.
`GET /_githost/requests` lists what was asked; `DELETE` forgets it. How git itself is run is in
`git_http_backend`.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import re
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from localfly import github_archive
from localfly.git_http_backend import http_backend
from localfly.github_archive import Archives, ask_git
from localfly.loopback import listen, serve, serve_forever

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

PRIVATE_TOKEN_FILE = "flaude-private-token"  # noqa: S105 - a file name
API_FOLDER = "flaude-api"

REQUESTS_KEPT = 1000

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@asynccontextmanager
async def serve_githost(
    root: Path, *, host: str = "127.0.0.1", port: int = 0, archives: Archives | None = None
) -> AsyncIterator[str]:
    """Serve the repositories under `root` inside this process until the block ends; yields the URL."""
    async with serve(githost_app(root, archives), listen(host, port)) as url:
        yield url


def githost_app(root: Path, archives: Archives | None = None) -> Starlette:
    """The host as an ASGI app."""
    host = _Host(root, archives or Archives())
    return Starlette(
        routes=[
            Route("/_githost/requests", host.requests, methods=["GET", "DELETE"]),
            Route("/api/v3/repos/{owner}/{name}", host.api, methods=["GET"]),
            Route("/api/v3/repos/{owner}/{name}/{what:path}", host.api, methods=["GET"]),
            Route(f"/{github_archive.FOLDER}/{{owner}}/{{name}}/legacy.tar.gz/{{sha}}", host.archive),
            Route("/{owner}/{name}/{what:path}", host.git, methods=["GET", "POST"]),
        ]
    )


class _Host:
    def __init__(self, root: Path, archives: Archives) -> None:
        self.root = root
        self.archives = archives
        self.seen: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)

    async def git(self, request: Request) -> Response:
        return self._record(request, await self._git(request))

    async def api(self, request: Request) -> Response:
        return self._record(request, await self._api(request))

    async def archive(self, request: Request) -> Response:
        """No credential counts here but the link itself."""
        repository = self._repository(request)
        private = not repository.is_dir() or bool(_private_token(repository))
        return self._record(request, await self.archives.answer(request, repository, private=private))

    async def requests(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.seen.clear()
            return Response(status_code=204)
        return JSONResponse(list(self.seen))

    async def _git(self, request: Request) -> Response:
        token = _token(request)
        status = self._admission(request, token)
        pushes = "git-receive-pack" in (request.query_params.get("service"), request.path_params["what"])
        if status == 200 and pushes:
            status = 403 if token else 401
        if status != 200:
            return _refusal(status, token)
        return await http_backend(self._repository(request), request)

    async def _api(self, request: Request) -> Response:
        token = _token(request)
        status = self._admission(request, token)
        if status == 401 and token:
            return JSONResponse({"message": "Bad credentials"}, 401)
        if status != 200:
            return JSONResponse({"message": "Not Found"}, 404)
        what: str = request.path_params.get("what", "")
        answers = (self._repository(request) / API_FOLDER).resolve()
        answer = (answers / f"{what}.json").resolve()
        if answer.is_relative_to(answers) and answer.is_file():
            return Response(answer.read_bytes(), media_type="application/json")
        return await self._rest(request, what)

    async def _rest(self, request: Request, what: str) -> Response:
        repository = self._repository(request)
        private = bool(_private_token(repository))
        kind, _, ref = what.partition("/")
        if not what:
            _, head = await ask_git(repository, "symbolic-ref", "--short", "HEAD")
            name = f"{repository.parent.name}/{repository.name.removesuffix('.git')}"
            return JSONResponse(
                {"full_name": name, "private": private, "default_branch": head.decode().strip()}
            )
        if kind not in ("commits", "tarball") or not ref or ref.startswith("-"):
            return JSONResponse({"message": "Not Found"}, 404)
        code, ids = await ask_git(
            repository, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}"
        )
        if code != 0:
            return JSONResponse({"message": f"No commit found for SHA: {ref}"}, 422)
        sha = ids.decode().strip()
        if kind == "tarball":
            return RedirectResponse(self.archives.link(request, repository, sha, private=private), 302)
        _, tree = await ask_git(repository, "rev-parse", f"{sha}^{{tree}}")
        return JSONResponse({"sha": sha, "commit": {"tree": {"sha": tree.decode().strip()}}, "files": []})

    def _admission(self, request: Request, token: str) -> int:
        """200, or what GitHub says: a wrong token is refused even where none is needed (401), and what one
        may not see looks as if it did not exist (404; 401 without a token, so that git asks for one)."""
        repository = self._repository(request)
        exists = repository.is_dir()
        private = _private_token(repository) if exists else ""
        if token and token != private:
            known = {_private_token(other) for other in self.root.glob("*/*.git")}
            if token not in known:
                return 401
        if exists and private in ("", token):
            return 200
        return 404 if token else 401

    def _repository(self, request: Request) -> Path:
        """Where the repository would be; a name GitHub does not allow leads to one that is never there."""
        owner: str = request.path_params["owner"]
        name: str = request.path_params["name"].removesuffix(".git")
        if not (_NAME.fullmatch(owner) and _NAME.fullmatch(name)):
            return self.root / ".none" / ".none"
        return self.root / owner / f"{name}.git"

    def _record(self, request: Request, response: Response) -> Response:
        self.seen.append(
            {
                "method": request.method,
                "path": request.url.path,
                "query": request.url.query,
                "headers": dict(request.headers),
                "status": response.status_code,
            }
        )
        return response


def _refusal(status: int, token: str) -> Response:
    """GitHub's words to git, which shows them to its user."""
    said = {
        401: "Invalid username or token." if token else "Repository not found.",
        403: "Write access to repository not granted.",
        404: "Repository not found.",
    }
    headers = {"www-authenticate": 'Basic realm="GitHub"'} if status == 401 else {}
    return PlainTextResponse(said[status], status, headers)


def _private_token(repository: Path) -> str:
    file = repository / PRIVATE_TOKEN_FILE
    return file.read_text().strip() if file.is_file() else ""


def _token(request: Request) -> str:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return value
    try:
        return base64.b64decode(value).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return value


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m localfly.githost", description="A read-only git host.")
    parser.add_argument("--root", type=Path, required=True, help="the folder with <owner>/<name>.git in it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--archive-seconds", type=float, default=github_archive.LINK_SECONDS,
                        help="how long an archive's link is good")  # fmt: skip
    parser.add_argument("--archive-uses", type=int, default=0, help="downloads per link; 0 sets no limit")
    args = parser.parse_args(argv)
    if not args.root.is_dir():
        parser.error(f"{args.root}: not a folder")
    archives = Archives(args.archive_seconds, args.archive_uses)
    serve_forever(githost_app(args.root.resolve(), archives), host=args.host, port=args.port)


if __name__ == "__main__":
    main()
