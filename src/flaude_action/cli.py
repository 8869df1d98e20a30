"""The verbs, the signals and the exit: the only place that reads the process's own environment and arguments.

`main` and `post` are what the action's container runs, without arguments; the others are for people.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from flaude_action import DEFAULT_IMAGE, __version__

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from flaude_action.waiting import Cancellation

_RUNNER_SECRETS = ("ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
"""The runner gives these to every container; no child of ours is to have them."""


def main_entry() -> int:
    """The container's main stage. Arguments (`with: args`) are ignored."""
    return _run(_main())


def post_entry() -> int:
    """The container's post stage."""
    return _run(_post())


def run() -> None:
    """The program `flaude-action`."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """One verb; the exit code."""
    options = _parser().parse_args(arguments)
    code: int = options.verb(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flaude-action", description="Run Claude Code on a Fly.io Machine.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    step = verbs.add_parser("main", help="run the step, from the inputs the runner set")
    step.set_defaults(verb=lambda _: main_entry())
    after = verbs.add_parser("post", help="destroy what the step left behind")
    after.set_defaults(verb=lambda _: post_entry())

    doctor = verbs.add_parser("doctor", help="try on your own Fly app what this action relies on")
    doctor.add_argument("--app", required=True, help="the Fly app; one short machine is made in it")
    doctor.add_argument(
        "--image", default=DEFAULT_IMAGE, help="what the step's `image:` says (default: this release's)"
    )
    doctor.add_argument("--region", default="", help="where (default: Fly chooses)")
    doctor.set_defaults(verb=_doctor)

    local = verbs.add_parser("local", help="serve a stand-in for Fly on this computer")
    local.add_argument("--backend", choices=["docker", "process"], default="docker")
    local.add_argument("--port", type=int, default=4280)
    local.add_argument("--state", default="", help="folder that keeps its state (default: a temporary one)")
    local.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    local.add_argument(
        "--cache", default="", help="folder for what processes need (default: the user's cache folder)"
    )
    local.set_defaults(verb=_local)

    rehearse = verbs.add_parser("rehearse", help="run the bundled example end to end, without accounts")
    rehearse.add_argument("--backend", choices=["docker", "process"], default=None)
    rehearse.add_argument(
        "--cache", default="", help="folder for what is fetched (default: said when it runs)"
    )
    rehearse.add_argument("--keep", action="store_true", help="keep the files of both runs")
    rehearse.set_defaults(verb=_rehearse)
    return parser


async def _main() -> int:
    from flaude_action import action
    from flaude_action.waiting import Cancellation

    environ = dict(os.environ)
    for name in _RUNNER_SECRETS:
        os.environ.pop(name, None)
    cancellation = Cancellation()
    _listen(cancellation)
    return await action.main(environ, _stdout(), cancellation)


async def _post() -> int:
    from flaude_action import action

    return await action.post(dict(os.environ), _stdout())


def _stdout() -> TextIO:
    """The step's log. The runner reads UTF-8, whatever the job's environment says."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdout


def _listen(cancellation: Cancellation) -> None:
    """The runner cancels with SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL.

    https://docs.github.com/en/actions/reference/workflow-cancellation-reference
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, cancellation.request, "SIGINT")
    loop.add_signal_handler(signal.SIGTERM, lambda: cancellation.request("SIGTERM", at_once=True))


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads us any more. What was running has been ended on the way here; Python's own last flush
        # would fail again. https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _doctor(options: argparse.Namespace) -> int:
    from flaude_action.doctor import examine

    return _run(examine(options.app, options.image, options.region, os.environ, sys.stdout))


def _local(options: argparse.Namespace) -> int:
    from flaude_action.local import serve

    state = Path(options.state) if options.state else None
    cache = Path(options.cache) if options.cache else _cache_folder()
    return _run(serve(options.backend, options.port, state, options.settings, cache=cache))


def _rehearse(options: argparse.Namespace) -> int:
    from flaude_action.rehearsal.rehearse import rehearse

    cache = Path(options.cache) if options.cache else _cache_folder()
    return _run(rehearse(backend=options.backend, cache=cache, keep=options.keep))


def _cache_folder() -> Path:
    """Where a rehearsal keeps what it fetched: the user's cache folder, as the XDG base directories say."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "flaude-action"
