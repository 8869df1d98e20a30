"""The guest's way to a private repository without a token: GitHub's archive, proven by the tree's id."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.engines import free_port
from tests.support.guest import NONCE, git, guest, job, repository, served

from flaude_guest import archive as archives
from flaude_guest.archive import fetch_archive
from flaude_guest.fetch import BASE, CloneFailed
from flaude_guest.git import CutShort, Git
from flaude_guest.job import Archive, Repository
from flaude_guest.job_document import read
from flaude_guest.places import Places
from flaude_guest.processes import Processes
from flaude_guest.record import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "ghs_0123456789"
SHA = "a" * 40
FILES = {"a": "1\n", 'ä x/"q"\\': "odd\n", "deep/" * 60 + "file": "long\n", "README.md": "hello\n"}


@pytest.fixture
def run(tmp_path: Path) -> Git:
    """git as the supervisor runs it, without isolation."""
    places = Places.of({"FLAUDE_STATE_DIR": str(tmp_path)}, isolated=False)
    return Git(Processes(Wake()), places, lambda: "")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between attempts."""
    monkeypatch.setattr(archives, "RETRY_DELAYS_S", (0.01, 0.01))


class Source:
    """`o/private.git` served as GitHub would, with every kind of file."""

    def __init__(self, root: Path, extra: dict[str, str]) -> None:
        self.work = root / "work"
        repository(self.work, {**FILES, **extra})
        (self.work / "link").symlink_to("/etc/passwd")
        (self.work / "run").write_bytes(b"#!/bin/sh\n\x00\xff")
        (self.work / "run").chmod(0o755)
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--message=two")
        self.sha = git(self.work, "rev-parse", "HEAD")
        self.tree = git(self.work, "rev-parse", "HEAD^{tree}")
        self.bare = root / "host" / "o" / "private.git"
        git(root, "clone", "--quiet", "--bare", str(self.work), str(self.bare))
        (self.bare / "flaude-private-token").write_text(TOKEN)

    @contextlib.contextmanager
    def served(self, *options: str) -> Iterator[str]:
        with served("localfly.githost", "--root", str(self.bare.parent.parent), *options) as url:
            yield url

    def link(self, host: str) -> str:
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = httpx.get(f"{host}/api/v3/repos/o/private/tarball/{self.sha}", headers=headers)
        return answer.headers["location"]

    def wanted(self, host: str) -> Repository:
        archive = Archive(self.link(host), self.tree)
        return Repository(f"{host}/o/private.git", "refs/heads/main", self.sha, "n", "", archive)


def fetched(run: Git, one: Repository, bare: Path) -> Any:
    assert one.archive is not None
    return fetch_archive(run, one, one.archive, bare)


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "* text=auto\n",
        "README.md text eol=crlf\na ident\n",
        "README.md working-tree-encoding=UTF-16LE-BOM\n",
    ],
)
def test_the_content_is_the_commits(run: Git, tmp_path: Path, attributes: str) -> None:
    """Odd names, links, modes and checkout conversions: the tree is the commit's own, and the link leaves no
    trace."""
    source = Source(tmp_path, {".gitattributes": attributes} if attributes else {})
    with source.served() as host:
        one = source.wanted(host)
        found = fetched(run, one, tmp_path / "bare")
    assert one.archive is not None
    assert (found.sha, found.branch) == (source.sha, "main")
    assert git(found.bare, "rev-parse", f"{found.commit}^{{tree}}") == source.tree
    assert git(found.bare, "fsck", "--strict", "--no-dangling") == ""
    assert source.sha in git(found.bare, "log", "--format=%B", BASE)
    token = one.archive.url.rpartition("=")[2]
    files = [file for file in found.bare.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if token.encode() in file.read_bytes()]
    assert token not in repr(one)
    assert not (found.bare / "flaude.checkout").exists()


@pytest.mark.parametrize(
    "extra",
    [
        {".gitattributes": "a export-ignore\n"},
        {".gitattributes": "version export-subst\n", "version": "$Format:%H$\n"},
    ],
    ids=["ignore", "subst"],
)
def test_an_archive_that_differs(run: Git, tmp_path: Path, extra: dict[str, str]) -> None:
    """Content that is not all of the commit is refused, by name."""
    source = Source(tmp_path, extra)
    with source.served() as host, pytest.raises(CloneFailed) as caught:
        fetched(run, source.wanted(host), tmp_path / "bare")
    assert caught.value.type == "clone_archive_unusable"
    assert "export-ignore" in caught.value.details


def test_an_archive_without_the_submodule(run: Git, tmp_path: Path) -> None:
    """An archive has a submodule's folder but not its commit: refused."""
    source = Source(tmp_path, {})
    git(source.work, "update-index", "--add", "--cacheinfo", f"160000,{SHA},module")
    git(source.work, "commit", "--quiet", "--message=module")
    source.sha, source.tree = (git(source.work, "rev-parse", name) for name in ("HEAD", "HEAD^{tree}"))
    git(source.work, "push", "--quiet", str(source.bare), "HEAD:main")
    with source.served() as host, pytest.raises(CloneFailed) as caught:
        fetched(run, source.wanted(host), tmp_path / "bare")
    assert caught.value.type == "clone_archive_unusable"


@pytest.mark.parametrize("options", [("--archive-seconds=0",), ("--archive-uses=1",)])
def test_a_link_that_has_ended(run: Git, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A link that is no longer good is a refusal, asked once, and is not shown."""
    source = Source(tmp_path, {})
    with source.served(*options) as host:
        one = source.wanted(host)
        assert one.archive is not None
        httpx.get(one.archive.url)
        httpx.delete(f"{host}/_githost/requests")
        with pytest.raises(CloneFailed) as caught:
            fetched(run, one, tmp_path / "bare")
        asked = httpx.get(f"{host}/_githost/requests").json()
    assert (caught.value.type, len(asked)) == ("clone_auth_failed", 1)
    assert "HTTP 404" in caught.value.details
    assert one.archive.url.rpartition("=")[2] not in f"{caught.value} {caught.value.line}"


# Hostile and broken archives. `members` become a tar.gz in one top folder unless they say otherwise.


def member(name: str, content: bytes = b"x", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content) if fields.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else 0
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@contextlib.contextmanager
def answering(*answers: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers in order, the last one for ever; yields its URL and the paths it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answers[min(len(asked), len(answers)) - 1](self)

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def body(data: bytes, length: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(len(data) if length is None else length))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def of(url: str, tree: str = "b" * 40) -> Repository:
    return Repository(
        "https://github.com/o/n.git", "", SHA, "n", "", Archive(f"{url}/x?token=hidden-token", tree)
    )


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("/etc/evil")],
        [member("top/../../evil")],
        [member("top/./a")],
        [member("top//a")],
        [member("top/.git/hooks/post-checkout")],
        [member("top/sub/.GIT/config")],
        [member("top/a"), member("other/b")],
        [member("bare-file")],
        [member("top/pipe", type=tarfile.FIFOTYPE)],
        [member("top/device", type=tarfile.CHRTYPE)],
        [member("top/hard", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
    ],
    ids=lambda members: members[-1][0].name.replace("/", "_"),
)
def test_hostile_archives(run: Git, tmp_path: Path, members: list[Any]) -> None:
    """Ways out of the repository, git's own folder, devices: refused, asked once, nothing written outside."""
    before = {path.name for path in tmp_path.iterdir()}
    with answering(body(packed(*members))) as (url, asked), pytest.raises(CloneFailed) as caught:
        fetched(run, of(url), tmp_path / "bare")
    assert (caught.value.type, len(asked)) == ("clone_archive_unusable", 1)
    assert {path.name for path in tmp_path.iterdir()} <= before | {"bare"}
    assert not os.path.lexists("/etc/evil")


def test_a_link_is_never_followed(run: Git, tmp_path: Path) -> None:
    """A file below a link lands in git's tree, not where the link points; the tree then is no commit's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("top/door", type=tarfile.SYMTYPE, linkname=str(outside))
    with (
        answering(body(packed(link, member("top/door/evil")))) as (url, _),
        pytest.raises(CloneFailed) as caught,
    ):
        fetched(run, of(url), tmp_path / "bare")
    assert caught.value.type == "clone_archive_unusable"
    assert list(outside.iterdir()) == []


def test_a_huge_archive(run: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to more than the limit is given up on the way, whatever its entries say."""
    monkeypatch.setattr(archives, "ARCHIVE_MAX_BYTES", 1024 * 1024)
    data = packed(*(member(f"top/{number}", bytes(300_000)) for number in range(10)))
    with answering(body(data)) as (url, _), pytest.raises(CloneFailed) as caught:
        fetched(run, of(url), tmp_path / "bare")
    assert caught.value.type == "clone_archive_unusable"
    assert "more than 1 MiB" in caught.value.details


HUGE = 64 * 2**20


def unending(*parts: bytes, part: bytes) -> bytes:
    """A tar.gz that begins so and goes on to a size no machine has memory for; never whole in ours."""
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    begun = [coder.compress(one) for one in parts]
    piece = (part * (2**20 // len(part) + 1))[: 2**20]
    return b"".join([*begun, *(coder.compress(piece) for _ in range(HUGE // 2**20)), coder.flush()])


def header(name: str, type_: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = type_, size
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse_map() -> tuple[bytes, ...]:
    """A pax header that says: the file begins with a list of places, as text."""
    info = tarfile.TarInfo("top/a")
    info.size = HUGE
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "top/a"}
    return (info.tobuf(tarfile.PAX_FORMAT), b"%d\n" % HUGE)


def old_sparse_map() -> bytes:
    """A header that goes on in another block, as does each of those."""
    block = bytearray(header("top/a", tarfile.GNUTYPE_SPARSE, 0))
    block[482] = 1
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    return bytes(block)


def many_comments() -> bytes:
    """Each of a size that is taken, on the whole archive, with a key of its own: all are kept."""
    coder, record = zlib.compressobj(1, zlib.DEFLATED, 31), 2**20 - 512
    begin = header("x", tarfile.XGLTYPE, record)
    bodies = (b"%d k%06d=" % (record, key) for key in range(400))
    blocks = (coder.compress(begin + body.ljust(record - 1, b"x") + b"\n") for body in bodies)
    return b"".join([*blocks, coder.flush()])


@pytest.mark.parametrize(
    "data",
    [
        many_comments,
        lambda: unending(header("x", tarfile.GNUTYPE_LONGNAME, HUGE), part=b"x"),
        lambda: unending(header("x", tarfile.GNUTYPE_LONGLINK, HUGE), part=b"x"),
        lambda: unending(header("x", tarfile.XHDTYPE, HUGE), b"%d path=" % HUGE, part=b"x"),
        lambda: unending(header("x", tarfile.XGLTYPE, HUGE), b"%d comment=" % HUGE, part=b"x"),
        lambda: unending(*sparse_map(), part=b"0\n"),
        lambda: unending(old_sparse_map(), part=(b"0" * 11 + b"\0") * 42 + b"\1" + bytes(7)),
    ],
    ids=[
        "many comments",
        "long name",
        "long link",
        "long path",
        "long comment",
        "places",
        "places, as of old",
    ],
)
def test_an_archive_that_fills_the_memory(run: Git, tmp_path: Path, data: Callable[[], bytes]) -> None:
    """What tarfile would read whole into memory, and that has no place in a repository, is refused before."""
    with answering(body(data())) as (url, asked), pytest.raises(CloneFailed) as caught:
        fetched(run, of(url), tmp_path / "bare")
    assert (caught.value.type, len(asked)) == ("clone_archive_unusable", 1)
    assert "more memory" in caught.value.details


def test_an_archive_that_unpacks_to_nothing(
    run: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that arrive have the same limit, be they as empty as they like."""
    monkeypatch.setattr(archives, "ARCHIVE_MAX_BYTES", 1024 * 1024)
    with answering(body(gzip.compress(b"") * 100_000)) as (url, _), pytest.raises(CloneFailed) as caught:
        fetched(run, of(url), tmp_path / "bare")
    assert caught.value.type == "clone_archive_unusable"
    assert "more than 1 MiB" in caught.value.details


WHOLE = packed(member("top/a", os.urandom(100_000)), member("top/b", os.urandom(100_000)))


@pytest.mark.parametrize(
    ("answer", "type_", "tries"),
    [
        (status(401), "clone_auth_failed", 1),
        (status(403), "clone_auth_failed", 1),
        (status(410), "clone_auth_failed", 1),
        (status(500), "clone_failed", 3),
        (status(302, location="/elsewhere"), "clone_failed", 3),
        (body(b"<html>sign in</html>"), "clone_failed", 3),
        (body(WHOLE[:50_000]), "clone_failed", 3),
        (body(WHOLE[:50_000], len(WHOLE)), "clone_failed", 3),
        (body(WHOLE[:-6]), "clone_failed", 3),
        (body(gzip.compress(gzip.decompress(WHOLE)[:100_864])), "clone_archive_unusable", 1),
    ],
    ids=["401", "403", "410", "500", "redirect", "html", "cut", "short", "unsealed", "halved"],
)
def test_what_the_host_may_answer(run: Git, tmp_path: Path, answer: Any, type_: str, tries: int) -> None:
    """A refusal is final, trouble is tried again; redirects are not followed, and the link is not shown."""
    with answering(answer) as (url, asked), pytest.raises(CloneFailed) as caught:
        fetched(run, of(url), tmp_path / "bare")
    assert (caught.value.type, asked) == (type_, ["/x?token=hidden-token"] * tries)
    assert "hidden-token" not in f"{caught.value} {caught.value.line}"


def test_trouble_may_pass(run: Git, tmp_path: Path) -> None:
    """The second attempt counts when it is whole."""
    work = tmp_path / "work"
    repository(work, {"a": "1\n"})
    data = packed(member("top/a", b"1\n"))
    with answering(body(data[:20], len(data)), body(data)) as (url, asked):
        found = fetched(run, of(url, git(work, "rev-parse", "HEAD^{tree}")), tmp_path / "bare")
    assert len(asked) == 2
    assert git(found.bare, "show", f"{found.commit}:a") == "1"


def test_nobody_answers(run: Git, tmp_path: Path) -> None:
    """A host that is not there is network trouble."""
    with pytest.raises(CloneFailed) as caught:
        fetched(run, of(f"http://127.0.0.1:{free_port()}"), tmp_path / "bare")
    assert caught.value.type == "clone_failed"
    assert "no HTTP answer" in caught.value.details


def test_a_stop_cuts_a_download_short(tmp_path: Path) -> None:
    """When the run must end, a download that hangs ends with its reason."""
    let_go = threading.Event()
    places = Places.of({"FLAUDE_STATE_DIR": str(tmp_path)}, isolated=False)
    with answering(lambda _: let_go.wait(20) and None) as (url, asked):
        stopped = Git(Processes(Wake()), places, lambda: "cancelled" if asked else "")
        try:
            with pytest.raises(CutShort, match="cancelled"):
                fetched(stopped, of(url), tmp_path / "bare")
        finally:
            let_go.set()


def test_a_stop_while_the_content_is_compared(tmp_path: Path) -> None:
    """A stop that comes between two calls of git is told as the stop it is."""
    source = Source(tmp_path, {".gitattributes": "README.md text eol=crlf\n"})
    bare = tmp_path / "bare"
    places = Places.of({"FLAUDE_STATE_DIR": str(tmp_path)}, isolated=False)
    stopped = Git(
        Processes(Wake()), places, lambda: "cancelled" if (bare / "flaude.checkout").exists() else ""
    )
    with source.served() as host, pytest.raises(CutShort, match="cancelled"):
        fetched(stopped, source.wanted(host), bare)


def test_a_whole_job(tmp_path: Path) -> None:
    """The agent works on a clone of the archive's commit; the patch fits the real one, whose SHA is told."""
    source = Source(tmp_path, {})
    setup = "git log --format=%B; git status --short --branch; echo 2 > a; rm link; echo new > b; exit 3"
    with source.served() as host, guest(tmp_path / "g", claude="true") as g:
        one = {
            "url": f"{host}/o/private.git",
            "ref": "main",
            "sha": source.sha,
            "directory": "n",
            "token": None,
            "archive": {"url": source.link(host), "tree": source.tree},
        }
        document = job(repositories=[one], setup=setup)
        g.ask("provision", stdin=document)
        result = g.result()
        patch = g.collect("patch")
        g.ask("release")
        g.exit_code()
    (tmp_path / "patch").write_bytes(patch)
    git(source.work, "apply", "--index", str(tmp_path / "patch"))
    assert git(source.work, "status", "--short") == "M  a\nA  b\nD  link"
    assert result["base_sha"] == source.sha
    assert result["error"]["type"] == "setup_command_failed"
    lines = g.lines()
    assert f"Content of {source.sha}" in lines
    assert "## main...origin/main" in lines
    (link, *tokens) = read(document, NONCE).repositories[0].archive.secrets  # type: ignore[union-attr]
    assert link == one["archive"]["url"]
    assert tokens
    assert all(token and token in link for token in tokens)
    assert not [line for line in lines for token in tokens if token in line]
