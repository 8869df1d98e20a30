"""Running git with nobody's configuration but ours.

Neither the machine's, nor the agent's, nor the workspace's settings reach these calls. What is asked of git
is in `fetch`, `workspace` and `changeset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping, Sequence

if TYPE_CHECKING:
    from pathlib import Path

    from flaude_guest.pipes import Sink
    from flaude_guest.places import Identity, Places
    from flaude_guest.processes import Ended, Processes, Watch

CAPTURE_MAX_BYTES = 64 * 1024 * 1024


class CutShort(Exception):
    """The journey gave a reason to stop while a command ran; the reason is the text."""


@dataclass(frozen=True)
class Answer:
    ended: Ended
    out: bytes
    err: bytes
    whole: bool = True

    @property
    def ok(self) -> bool:
        """Its answer may be relied on: it succeeded, and all that it said is here."""
        return self.ended.ok and self.whole

    @property
    def line(self) -> str:
        """git's last words, for the job log."""
        lines = [line for line in self.err.decode("utf-8", "replace").splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
        return (fatal or lines or [""])[-1]


class Git:
    """git as root (`who` None) or as another identity. `watch` may end any call; then CutShort is raised."""

    def __init__(self, processes: Processes, places: Places, watch: Watch) -> None:
        self._processes = processes
        self._path = places.own_path
        self._home = places.state
        self._watch = watch

    def __call__(
        self,
        *args: str,
        cwd: Path,
        who: Identity | None = None,
        config: Sequence[tuple[str, str]] = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        out: Sink | None = None,
    ) -> Answer:
        return self.program(("git", *args), cwd=cwd, who=who, config=config, env=env, stdin=stdin, out=out)

    def program(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        who: Identity | None = None,
        config: Sequence[tuple[str, str]] = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        out: Sink | None = None,
    ) -> Answer:
        """Like a call, for a program that itself runs git."""
        captured, errors = bytearray(), bytearray()
        ended = self._processes.run(
            argv,
            who=who,
            cwd=cwd,
            env={**self._neutral(config), **(env or {})},
            stdin=stdin,
            out=out or _bounded(captured),
            err=_bounded(errors),
            watch=self._watch,
            ours=True,
        )
        if ended.cut:
            raise CutShort(ended.cut)
        return Answer(ended, bytes(captured), bytes(errors), whole=len(captured) < CAPTURE_MAX_BYTES)

    def pause(self, seconds: float) -> None:
        reason = self._processes.pause(seconds, self._watch)
        if reason:
            raise CutShort(reason)

    def _neutral(self, config: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Configuration only from the environment, which unlike a command line nobody else can read."""
        settings = [
            ("core.hooksPath", "/dev/null"),
            ("core.attributesFile", "/dev/null"),
            ("core.excludesFile", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.autocrlf", "false"),
            ("credential.helper", ""),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("advice.detachedHead", "false"),
            *config,
        ]
        env = {
            "PATH": self._path,
            "HOME": str(self._home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (name, value) in enumerate(settings):
            env["GIT_CONFIG_KEY_%d" % number] = name
            env["GIT_CONFIG_VALUE_%d" % number] = value
        return env


def _bounded(captured: bytearray) -> Sink:
    def take(data: bytes) -> None:
        room = CAPTURE_MAX_BYTES - len(captured)
        captured.extend(data[:room])

    return take
