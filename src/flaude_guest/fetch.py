"""The pinned commit of a repository, fetched by root into a bare repository that only root can write.

The token is in the environment of the one git process that needs it and nowhere else. Failures are told apart
by what the server said (HTTP status, a refused `want`), which git's exit code 128 does not tell. The agent's
checkout of what was fetched is in `workspace`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.git import Answer, Git
    from flaude_guest.job import Repository

DEPTH = 50
"""Commits of history: enough for `git log` and blame of recent work, without fetching a large past."""
RETRY_DELAYS_S = (0.5, 2.0)
BASE = "refs/flaude/base"

# https://git-scm.com/docs/git#Documentation/git.txt-codeGITTRACECURLcode
_STATUS = re.compile(rb"<= Recv header: HTTP/[0-9.]+ ([0-9]{3})")
# A server's ERR packet: https://git-scm.com/docs/gitprotocol-common#_pkt_line_format
_REFUSED = re.compile(rb"packet:\s+\S+< ERR ")


class CloneFailed(Exception):
    """`type` is an id of the catalog; `details` our own words; `line` git's, for the job log only."""

    def __init__(self, type: str, details: str, line: str = "") -> None:  # noqa: A002
        super().__init__(details)
        self.type = type
        self.details = details
        self.line = line


@dataclass(frozen=True)
class Fetched:
    """A bare repository with one commit of interest. `branch` is '' unless the ref names a branch.

    `sha` is the commit's own id; what came as an archive has its content in a commit made here, `stand_in`.
    """

    repository: Repository
    bare: Path
    sha: str
    branch: str
    stand_in: str = ""

    @property
    def commit(self) -> str:
        """The commit in the bare repository."""
        return self.stand_in or self.sha


def fetch(git: Git, repository: Repository, bare: Path, *, local_urls: bool) -> Fetched:
    """Fetch what `repository` pins. Raises CloneFailed; `local_urls` admits file: URLs."""
    if repository.url.startswith("file:") and not local_urls:
        raise CloneFailed("clone_failed", "Only http and https repositories can be fetched.")
    make_bare(git, bare)
    remote = _Remote(git, repository, bare)
    wanted, branch = _pinned(repository) or _resolve(remote, repository)
    remote.ask("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
               "--depth=%d" % DEPTH, "--", repository.url, "+%s:%s" % (wanted, BASE))  # fmt: skip
    commit = git("rev-parse", "--verify", "--quiet", BASE + "^{commit}", cwd=bare)
    if not commit.ok:
        raise CloneFailed("clone_ref_not_found", "The ref is not a commit.", commit.line)
    return Fetched(repository, bare, commit.out.decode("ascii").strip(), branch)


def make_bare(git: Git, bare: Path) -> None:
    """An empty bare repository that only its maker can write. Raises CloneFailed."""
    bare.mkdir(parents=True, mode=0o755)
    made = git("init", "--quiet", "--bare", "--template=", str(bare), cwd=bare)
    if not made.ok:
        raise CloneFailed("clone_failed", "git init failed.", made.line)


def _pinned(repository: Repository) -> tuple[str, str] | None:
    """What to fetch when the job itself names a commit, and the branch it is on."""
    if repository.sha:
        return repository.sha, branch_of(repository.ref)
    if re.fullmatch("[0-9a-f]{40}", repository.ref):
        return repository.ref, ""
    return None


def branch_of(ref: str) -> str:
    """The branch that a ref names, else ''; a short name is taken for a branch's."""
    if ref.startswith("refs/heads/"):
        return ref[len("refs/heads/") :]
    return "" if ref.startswith("refs/") or re.fullmatch("[0-9a-f]{40}", ref) else ref


def _resolve(remote: _Remote, repository: Repository) -> tuple[str, str]:
    """The commit a ref (or the default branch) points to now: (sha, branch or '')."""
    ref = repository.ref
    if not ref:
        names = ["HEAD"]
    else:
        names = [ref] if ref.startswith("refs/") else ["refs/heads/" + ref, "refs/tags/" + ref]
    answer = remote.ask("ls-remote", "--symref", "--", repository.url, *names)
    found: dict[str, str] = {}
    for line in answer.out.decode("utf-8", "replace").splitlines():
        value, _, name = line.partition("\t")
        # ls-remote matches from the end of a name, so refs/x/refs/heads/main would match too.
        if name in names:
            found.setdefault("symref" if value.startswith("ref: ") else name, value)
    for name in names:
        if name in found:
            pointed_to = found.get("symref", "ref: " + name)[len("ref: ") :]
            branch = branch_of(pointed_to) if pointed_to.startswith("refs/heads/") else ""
            return found[name], branch
    raise CloneFailed("clone_ref_not_found", "The repository answers but has no such ref.")


class _Remote:
    """git calls that talk to the server: with the token, with retries, its answers recorded."""

    def __init__(self, git: Git, repository: Repository, bare: Path) -> None:
        self._git = git
        self._bare = bare
        self._trace = bare / "flaude.trace"
        schemes = ("http", "https") if repository.url.startswith("http") else ("file",)
        self._config = [
            ("protocol.allow", "never"),
            *(("protocol.%s.allow" % scheme, "always") for scheme in schemes),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
        ]
        if repository.token:
            self._config += [
                ("http.%s.extraHeader" % repository.url, "Authorization: Basic " + repository.login),
                ("http.followRedirects", "false"),  # or the header would follow to another host
            ]

    def ask(self, *args: str) -> Answer:
        """One git call; network trouble is retried twice. Raises CloneFailed."""
        for delay_s in (*RETRY_DELAYS_S, None):
            answer, said = self._once(*args)
            if answer.ok:
                return answer
            failure = _failure(answer, said)
            if failure.type != "clone_failed" or delay_s is None:
                raise failure
            self._git.pause(delay_s)
        raise AssertionError("the last attempt either returns or raises")

    def _once(self, *args: str) -> tuple[Answer, bytes]:
        self._trace.write_bytes(b"")
        self._trace.chmod(0o600)
        env = {
            "GIT_TRACE_CURL": str(self._trace),
            "GIT_TRACE_CURL_NO_DATA": "1",
            "GIT_TRACE_PACKET": str(self._trace),
        }
        try:
            answer = self._git(*args, cwd=self._bare, config=self._config, env=env)
            return answer, self._trace.read_bytes() if not answer.ok else b""
        finally:
            self._trace.unlink()


def _failure(answer: Answer, said: bytes) -> CloneFailed:
    """Why the server did not give it to us, by what it answered.

    GitHub says 404 for a repository that exists but may not be read, so that is a matter of access too.
    """
    statuses = [int(status) for status in _STATUS.findall(said)]
    status = statuses[-1] if statuses else 0
    if status in (401, 403, 404):
        return CloneFailed("clone_auth_failed", "The server answered HTTP %d." % status, answer.line)
    if _REFUSED.search(said):
        return CloneFailed("clone_ref_not_found", "The server refused the commit.", answer.line)
    if status:
        details = "The server answered HTTP %d; git exited with %d." % (status, answer.ended.code)
    else:
        details = "There was no HTTP answer; git exited with %d." % answer.ended.code
    return CloneFailed("clone_failed", details, answer.line)
