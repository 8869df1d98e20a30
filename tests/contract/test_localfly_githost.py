"""The git host: real git against it, and who is let in."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from localfly.githost import serve_githost
from localfly.github_archive import Archives

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "ghs_right"
OTHER = "ghs_other"
QUIET = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    **{
        f"GIT_{who}_{what}": "t@example.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    },
}


def git_now(*words: str | Path) -> str:
    """Run git where nobody waits for us; its standard output."""
    done = subprocess.run(["git", *map(str, words)], env=QUIET, check=True, capture_output=True, text=True)
    return done.stdout.strip()


async def git(*words: str | Path) -> tuple[int, str]:
    """Run git as a client of the host in this loop: (exit code, all it said)."""
    process = await asyncio.create_subprocess_exec(
        "git", *map(str, words), env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`octo/open.git` (with a force-pushed branch), and two private ones with tokens of their own."""
    root = tmp_path_factory.mktemp("repositories")
    work = tmp_path_factory.mktemp("work")
    git_now("init", "-q", "-b", "main", work)
    (work / "a.txt").write_text("one\n" * 1000)
    git_now("-C", work, "add", ".")
    git_now("-C", work, "commit", "-qm", "one")
    git_now("clone", "-q", "--bare", work, root / "octo" / "open.git")
    git_now("clone", "-q", "--bare", work, root / "octo" / "secret.git")
    git_now("clone", "-q", "--bare", work, root / "octo" / "another.git")
    git_now("-C", work, "commit", "-q", "--amend", "-m", "force-pushed")
    git_now("-C", work, "push", "-q", "--force", root / "octo" / "open.git", "main")
    (root / "octo/secret.git/flaude-private-token").write_text(TOKEN + "\n")
    (root / "octo/another.git/flaude-private-token").write_text(OTHER)
    pulls = root / "octo/secret.git/flaude-api/pulls"
    pulls.mkdir(parents=True)
    (pulls / "7.json").write_text('{"number": 7}')
    return root


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(repositories: Path) -> AsyncIterator[str]:
    """The host's address."""
    async with serve_githost(repositories) as address:
        yield address


async def refs(url: str, name: str, token: str = "", service: str = "git-upload-pack") -> httpx.Response:
    """The first request git makes of a repository."""
    auth = httpx.BasicAuth("x-access-token", token) if token else None
    async with httpx.AsyncClient(auth=auth) as client:
        return await client.get(f"{url}/octo/{name}/info/refs", params={"service": service})


@pytest.mark.parametrize("protocol", ["0", "2"])
async def test_clone(url: str, repositories: Path, tmp_path: Path, protocol: str) -> None:
    """A public repository clones without a credential, in either protocol version."""
    version = f"protocol.version={protocol}"
    code, said = await git("-c", version, "clone", "-q", f"{url}/octo/open.git", tmp_path / "clone")
    assert (code, said) == (0, "")
    assert git_now("-C", tmp_path / "clone", "rev-parse", "HEAD") == git_now(
        "-C", repositories / "octo/open.git", "rev-parse", "main"
    )


@pytest.mark.parametrize("protocol", ["0", "2"])
async def test_fetch_of_a_sha(url: str, repositories: Path, tmp_path: Path, protocol: str) -> None:
    """A commit no branch has any more can be fetched by its SHA, shallow."""
    gone = git_now("-C", repositories / "octo/another.git", "rev-parse", "main")
    git_now("init", "-q", "--bare", tmp_path)
    fetch = ("fetch", "-q", "--depth=1", f"{url}/octo/open.git", gone)
    code, said = await git("-C", tmp_path, "-c", f"protocol.version={protocol}", *fetch)
    assert (code, said) == (0, "")
    assert git_now("-C", tmp_path, "rev-parse", "FETCH_HEAD") == gone


async def test_a_large_fetch(url: str, repositories: Path, tmp_path: Path) -> None:
    """A pack larger than any buffer arrives whole."""
    work = tmp_path / "work"
    git_now("init", "-q", "-b", "main", work)
    (work / "noise").write_bytes(os.urandom(3_000_000))
    git_now("-C", work, "add", ".")
    git_now("-C", work, "commit", "-qm", "noise")
    git_now("clone", "-q", "--bare", work, repositories / "octo" / "large.git")
    code, said = await git("clone", "-q", f"{url}/octo/large", tmp_path / "clone")
    assert (code, said) == (0, "")
    assert (tmp_path / "clone" / "noise").read_bytes() == (work / "noise").read_bytes()


async def test_a_gzipped_request(url: str) -> None:
    """A request body in gzip, as git sends long ones, is understood."""
    packets = b"0014command=ls-refs\n0000"
    headers = {
        "content-type": "application/x-git-upload-pack-request",
        "content-encoding": "gzip",
        "git-protocol": "version=2",
    }
    async with httpx.AsyncClient() as client:
        target = f"{url}/octo/open.git/git-upload-pack"
        answer = await client.post(target, content=gzip.compress(packets), headers=headers)
    assert "refs/heads/main" in answer.text


@pytest.mark.parametrize(
    ("name", "token", "status"),
    [
        ("open.git", "", 200),
        ("open", "", 200),
        ("open.git", OTHER, 200),
        ("open.git", "ghs_expired", 401),
        ("secret.git", TOKEN, 200),
        ("secret.git", "", 401),
        ("secret.git", OTHER, 404),
        ("secret.git", "ghs_expired", 401),
        ("missing.git", "", 401),
        ("missing.git", TOKEN, 404),
        ("..git", TOKEN, 404),
        ("%2e%2e", TOKEN, 404),
    ],
)
async def test_who_may_read(url: str, name: str, token: str, status: int) -> None:
    """A wrong token is refused everywhere, and what one may not see looks like what does not exist."""
    answer = await refs(url, name, token)
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_private_clone(url: str, tmp_path: Path) -> None:
    """Real git reads a private repository with an authorization header, and says why it may not without."""
    basic = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    header = f"http.extraHeader=Authorization: Basic {basic}"
    right = await git("-c", header, "clone", "-q", f"{url}/octo/secret.git", tmp_path / "clone")
    wrong = await git("clone", "-q", f"{url}/octo/secret.git", tmp_path / "none")
    assert right == (0, "")
    assert wrong[0] == 128
    assert "could not read Username" in wrong[1]


@pytest.mark.parametrize(("token", "status"), [("", 401), (OTHER, 403)])
async def test_no_push(url: str, token: str, status: int) -> None:
    """Nobody may push: not asked for and not done."""
    answer = await refs(url, "open.git", token, service="git-receive-pack")
    assert answer.status_code == status
    post = f"{url}/octo/open.git/git-receive-pack"
    async with httpx.AsyncClient(auth=("x-access-token", OTHER)) as client:
        assert (await client.post(post, content=b"0000")).status_code == 403


@pytest.mark.parametrize("path", ["HEAD", "config", "flaude-private-token", "../another.git/HEAD"])
async def test_no_files(url: str, path: str) -> None:
    """Only git's smart protocol is served, never a file of the repository's folder."""
    async with httpx.AsyncClient(auth=("x-access-token", TOKEN)) as client:
        answer = await client.get(f"{url}/octo/secret.git/{path}")
    assert answer.status_code in (403, 404)


async def test_the_rest_slice(url: str) -> None:
    """A pull request is what its file says; all else is GitHub's 404, or 401 for a wrong token."""
    api = f"{url}/api/v3/repos/octo/secret"

    async def get(path: str, token: str) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.get(api + path)
        return answer.status_code, answer.json()

    assert await get("/pulls/7", TOKEN) == (200, {"number": 7})
    assert await get("/pulls/8", TOKEN) == (404, {"message": "Not Found"})
    assert await get("/..%2f..%2fanother.git%2fflaude-private-token", TOKEN) == (
        404,
        {"message": "Not Found"},
    )
    assert await get("/pulls/7", "") == (404, {"message": "Not Found"})
    assert await get("/pulls/7", "ghs_expired") == (401, {"message": "Bad credentials"})


async def test_the_repository_and_its_commits(url: str, repositories: Path) -> None:
    """REST knows whether a repository is private, its default branch, and a ref's commit with its tree."""
    bare = repositories / "octo/secret.git"
    sha, tree = (git_now("-C", bare, "rev-parse", name) for name in ("main", "main^{tree}"))
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as client:
        api = f"{url}/api/v3/repos/octo"
        facts = (await client.get(f"{api}/secret")).json()
        assert facts == {"full_name": "octo/secret", "private": True, "default_branch": "main"}
        assert (await client.get(f"{api}/open")).json()["private"] is False
        for ref in ("main", "heads/main", "HEAD", sha):
            found = (await client.get(f"{api}/secret/commits/{ref}?per_page=1")).json()
            assert (found["sha"], found["commit"]["tree"]["sha"]) == (sha, tree)
        for ref in ("absent", "f" * 40, "--all"):
            assert (await client.get(f"{api}/secret/commits/{ref}")).status_code in (404, 422)
        assert (await client.get(f"{api}/another/commits/main")).status_code == 404


async def archive_link(url: str, name: str, token: str = TOKEN) -> tuple[int, str]:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"} if token else {}) as client:
        answer = await client.get(f"{url}/api/v3/repos/octo/{name}/tarball/main")
    return answer.status_code, answer.headers.get("location", "")


async def test_archive(url: str) -> None:
    """The archive needs no credential but its link, and lies in one folder named for the commit."""
    status, link = await archive_link(url, "secret")
    async with httpx.AsyncClient() as client:
        answer = await client.get(link)
        without = await client.get(link.partition("?")[0])
        elsewhere = await client.get(link.replace("octo/secret", "octo/another"))
    sha = link.partition("?")[0].rpartition("/")[2]
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert tar.getnames() == [f"octo-secret-{sha[:7]}", f"octo-secret-{sha[:7]}/a.txt"]
    assert (status, without.status_code, elsewhere.status_code) == (302, 404, 404)
    public = await archive_link(url, "open", "")
    assert "token=" not in public[1]
    async with httpx.AsyncClient() as client:
        assert (await client.get(public[1])).status_code == 200


@pytest.mark.parametrize(("token", "status"), [("", 404), (OTHER, 404), ("ghs_expired", 401)])
async def test_archive_link_is_for_readers(url: str, token: str, status: int) -> None:
    """Who may not read the repository gets no link."""
    assert await archive_link(url, "secret", token) == (status, "")


@pytest.mark.parametrize(
    ("archives", "statuses"), [(Archives(uses=1), [200, 404]), (Archives(0.0), [404, 404])]
)
async def test_archive_link_ends(repositories: Path, archives: Archives, statuses: list[int]) -> None:
    """A link can be for one download only, and ends with its time."""
    async with serve_githost(repositories, archives=archives) as url, httpx.AsyncClient() as client:
        _, link = await archive_link(url, "secret")
        assert [(await client.get(link)).status_code for _ in statuses] == statuses


async def test_requests_are_remembered(url: str) -> None:
    """Each request can be read back with its credential and status, until they are forgotten."""
    async with httpx.AsyncClient() as client:
        await client.delete(f"{url}/_githost/requests")
        await refs(url, "secret.git", TOKEN)
        (seen,) = (await client.get(f"{url}/_githost/requests")).json()
        await client.delete(f"{url}/_githost/requests")
        left = (await client.get(f"{url}/_githost/requests")).json()
    assert (seen["path"], seen["status"]) == ("/octo/secret.git/info/refs", 200)
    assert base64.b64decode(seen["headers"]["authorization"].split()[1]).decode() == f"x-access-token:{TOKEN}"
    assert left == []
