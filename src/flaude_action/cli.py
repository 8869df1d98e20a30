"""The verbs, the signals and the exit: the only place that reads the process's own environment and arguments.

`main` and `post` are what the action's container runs, without arguments; the others are for people.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from flaude_action import DEFAULT_IMAGE, REPOSITORY_URL, __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from flaude_action.report import Report

Options = argparse.ArgumentParser

_RUNNER_SECRETS = ("ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
"""The runner gives these to every container; no child of ours is to have them."""
_DOCTOR = """, with one short machine and the token in FLY_API_TOKEN. The exit code is 0 when everything held,
1 when something did not, 2 when something could not be tried"""
_MISSING = f"""\
`flaude-action {{verb}}` needs packages that are not installed (no module {{name}}).
In a clone of the repository:
  pip install '.[local]'
or from anywhere:
  pip install 'flaude-action[local] @ git+{REPOSITORY_URL}'
"""


def main_entry() -> int:
    """The container's main stage. Arguments (`with: args`) are ignored."""
    return _stage(_main)


def post_entry() -> int:
    """The container's post stage."""
    return _stage(_post)


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

    def verb(name: str, work: Callable[[argparse.Namespace], int], does: str, more: str = "") -> Options:
        description = f"{does[0].upper()}{does[1:]}{more}."
        options = verbs.add_parser(name, help=does, description=description)
        options.set_defaults(verb=work)
        return options

    verb("main", lambda _: main_entry(), "run the step", ", from the inputs that the runner set as variables")
    verb("post", lambda _: post_entry(), "destroy what the step left behind", ", from the state it saved")
    _doctor_options(verb("doctor", _doctor, "try on your own Fly app what this action relies on", _DOCTOR))
    _local_options(verb("local", _local, "serve a stand-in for Fly on this computer", ", until Ctrl-C"))
    _rehearse_options(verb("rehearse", _rehearse, "run the bundled example end to end, without accounts"))
    return parser


def _doctor_options(doctor: Options) -> None:
    doctor.add_argument("--app", required=True, help="the Fly app; one short machine is made in it")
    doctor.add_argument(
        "--image", default=DEFAULT_IMAGE, help="what the step's `image:` says (default: this release's)"
    )
    doctor.add_argument("--region", default="", help="where (default: Fly chooses)")


def _local_options(local: Options) -> None:
    local.add_argument(
        "--backend",
        choices=["docker", "process"],
        default="docker",
        help="machines are containers, or plain processes (default: docker)",
    )
    local.add_argument(
        "--port", type=_port, default=4280, help="on 127.0.0.1 (default: 4280; 0: any free one)"
    )
    local.add_argument("--state", default="", help="folder that keeps its state (default: a temporary one)")
    local.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="change a setting of the stand-in (repeatable)",
    )
    local.add_argument(
        "--help-settings", action="store_true", help="list the settings with their defaults, and end"
    )
    local.add_argument(
        "--cache", default="", help="folder for what processes need (default: the user's cache folder)"
    )


def _rehearse_options(rehearse: Options) -> None:
    rehearse.add_argument(
        "--backend",
        choices=["docker", "process"],
        default=None,
        help="what plays the machines (default: containers, if they can be had soon)",
    )
    rehearse.add_argument(
        "--cache", default="", help="folder for what is fetched (default: said when it runs)"
    )
    rehearse.add_argument(
        "--keep",
        action="store_true",
        help="keep also what is left of the machines; the steps' own files stay in any case",
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return port


def _stage(work: Callable[[dict[str, str], Report], Coroutine[Any, Any, int]]) -> int:
    """A stage of the action: whatever is said in it, by whomever, `report` says it."""
    from flaude_action.report import Report
    from flaude_action.stderr import quote_stderr
    from flaude_action.step import EXIT_FAILED, known

    environ = dict(os.environ)
    for name in _RUNNER_SECRETS:
        os.environ.pop(name, None)
    report = Report(environ, _stdout())
    quote_stderr(report)
    try:
        return _run(work(environ, report))
    except Exception as error:
        known(error, report)
        return EXIT_FAILED


async def _main(environ: dict[str, str], report: Report) -> int:
    from flaude_action.signals import Listener
    from flaude_action.waiting import Cancellation

    cancellation = Cancellation()
    Listener(cancellation).listen()
    from flaude_action import action  # loaded when a cancel is heard already

    return await action.main(environ, report, cancellation)


async def _post(environ: dict[str, str], report: Report) -> int:
    from flaude_action import action

    return await action.post(environ, report)


def _stdout() -> TextIO:
    """The step's log. The runner reads UTF-8, whatever the job's environment says."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdout


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
    try:
        from flaude_action.local import serve, tell_settings
    except ModuleNotFoundError as missing:
        return _not_installed("local", missing)
    if options.help_settings:
        return tell_settings()
    state = Path(options.state) if options.state else None
    cache = Path(options.cache) if options.cache else _cache_folder()
    return _run(serve(options.backend, options.port, state, options.settings, cache=cache))


def _rehearse(options: argparse.Namespace) -> int:
    try:
        from flaude_action.rehearsal.rehearse import rehearse
    except ModuleNotFoundError as missing:
        return _not_installed("rehearse", missing)
    cache = Path(options.cache) if options.cache else _cache_folder()
    return _run(rehearse(backend=options.backend, cache=cache, keep=options.keep))


def _not_installed(verb: str, missing: ModuleNotFoundError) -> int:
    """Say how to install the extra that this verb needs; a module of our own that is missing is a bug."""
    name = missing.name or ""
    if name.partition(".")[0] in ("flaude_action", "flaude_guest", "localfly"):
        raise missing
    sys.stderr.write(_MISSING.format(verb=verb, name=name))
    return 2


def _cache_folder() -> Path:
    """Where a rehearsal keeps what it fetched: the user's cache folder, as the XDG base directories say."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "flaude-action"
