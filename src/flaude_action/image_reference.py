"""Names of container images, as Docker writes them: `[host/]path[:tag][@sha256:…]`.

https://pkg.go.dev/github.com/distribution/reference
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from flaude_action.errors import ConfigError
from flaude_action.untrusted import quoted

PLATFORM = "linux/amd64"
"""What Fly's machines run, so the one form of an image that counts."""
HUB = "docker.io"
HUB_API = "registry-1.docker.io"
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")
_LABEL = r"[A-Za-z0-9]+(-+[A-Za-z0-9]+)*"
_HOST = re.compile(rf"({_LABEL}(\.{_LABEL})*|\[[0-9a-fA-F:]+\])(:\d{{1,5}})?")
_PATH = re.compile(r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """One image. `host` is the registry's, with its port; at least one of `tag` and `digest` has a value."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Without tag and digest."""
        return f"{self.host}/{self.path}"

    @property
    def base_url(self) -> str:
        """Where the registry's API is. Only a registry on loopback is spoken to without TLS."""
        if self.host == HUB:
            return f"https://{HUB_API}"
        return f"{'http' if is_loopback(self.host) else 'https'}://{self.host}"

    def at(self, digest: str) -> Reference:
        """The same image by its content."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Read a reference; without tag and digest it means `:latest`. Raises ConfigError."""
    rest, _, digest = text.partition("@")
    host, slash, path = rest.partition("/")
    if not slash or not (re.search(r"[.:\[]", host) or host == "localhost"):
        host, path = HUB, rest
    path, _, tag = path.partition(":")
    if host in (HUB, "index.docker.io"):
        host, path = HUB, path if "/" in path else f"library/{path}"
    good = (
        len(text) <= 512
        and _HOST.fullmatch(host)
        and _PATH.fullmatch(path)
        and (_TAG.fullmatch(tag) if ":" in rest.removeprefix(host) else True)
        and (_DIGEST.fullmatch(digest) if "@" in text else True)
    )
    if not good:
        raise ConfigError(
            "config_invalid",
            f"{quoted(text)} is not an image reference.",
            hint="Write host/name:tag or host/name@sha256:<64 hex digits>, without a scheme.",
        )
    return Reference(host, path, tag or ("" if digest else "latest"), digest)


def is_loopback(host: str) -> bool:
    """Whether a registry's `host[:port]` is this computer itself."""
    return _LOOPBACK.fullmatch(host) is not None
