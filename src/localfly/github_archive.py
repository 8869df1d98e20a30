"""GitHub's archive of a commit: the link that `tarball` redirects to, and what lies behind it.

A private repository's link carries a token of its own, good for some minutes, or for as many downloads as is
set; a public one's carries none. Who gets a link is decided in `githost`.
https://docs.github.com/en/rest/repos/contents#download-a-repository-archive-tar
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

from localfly.git_http_backend import quiet_environment

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

FOLDER = "_codeload"
LINK_SECONDS = 300.0


@dataclass
class _Grant:
    sha: str
    repository: Path
    ends_at: float
    uses: int


@dataclass
class Archives:
    """The links given out. `uses` limits the downloads of a private one's link; 0 sets no limit."""

    seconds: float = LINK_SECONDS
    uses: int = 0
    _grants: dict[str, _Grant] = field(default_factory=dict)

    def link(self, request: Request, repository: Path, sha: str, *, private: bool) -> str:
        """An absolute address, as GitHub's is."""
        owner, name = repository.parent.name, repository.name.removesuffix(".git")
        address = f"{request.base_url}{FOLDER}/{owner}/{name}/legacy.tar.gz/{sha}"
        if not private:
            return address
        token = secrets.token_urlsafe(24)
        self._grants[token] = _Grant(sha, repository, time.monotonic() + self.seconds, self.uses)
        return f"{address}?token={token}"

    async def answer(self, request: Request, repository: Path, *, private: bool) -> Response:
        """The archive, or GitHub's 404 to a link that is not, or no longer, good."""
        sha: str = request.path_params["sha"]
        if private and not self._redeem(request.query_params.get("token", ""), repository, sha):
            return PlainTextResponse("404: Not Found", 404)
        prefix = f"{repository.parent.name}-{repository.name.removesuffix('.git')}-{sha[:7]}/"
        code, data = await ask_git(repository, "archive", "--format=tar.gz", f"--prefix={prefix}", sha)
        if code != 0:
            return PlainTextResponse("404: Not Found", 404)
        return Response(data, media_type="application/x-gzip")

    def _redeem(self, token: str, repository: Path, sha: str) -> bool:
        grant = self._grants.get(token)
        if grant is None or (grant.repository, grant.sha) != (repository, sha):
            return False
        if time.monotonic() > grant.ends_at:
            return False
        if grant.uses == 1:
            del self._grants[token]
        grant.uses -= 1
        return True


async def ask_git(repository: Path, *words: str) -> tuple[int, bytes]:
    """(exit code, standard output) of git about a bare repository."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *("-C", str(repository), *words),
        env=quiet_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    data, _ = await process.communicate()
    return process.returncode or 0, data
