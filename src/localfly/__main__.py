"""`python -m localfly`: serve, print one JSON line with the addresses when ready, end on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from localfly.backend import BackendUnavailable
from localfly.serve import serving, told_to_end
from localfly.settings import SettingError, Settings, describe


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "localfly", description="A stand-in for Fly's Machines API, on loopback."
    )
    options.add_argument("--backend", choices=("docker", "process"), default="docker")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=port_number, default=0, help="0: any free port")
    options.add_argument("--state", type=Path, help="directory to keep state in; default: a temporary one")
    options.add_argument("--images", type=Path, help="process backend: JSON file of images")
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="pairs",
        help="change a setting (repeatable)",
    )
    options.add_argument("--help-settings", action="store_true", help="list the settings")
    return options


def port_number(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return port


async def program(options: argparse.Namespace, settings: Settings) -> None:
    told = told_to_end()
    async with serving(
        options.backend,
        settings=settings,
        state=options.state,
        images=options.images,
        host=options.host,
        port=options.port,
    ) as address:
        sys.stdout.write(address.as_line() + "\n")
        sys.stdout.flush()
        await told.wait()


def main() -> None:
    options = parser().parse_args()
    if options.help_settings:
        sys.stdout.write(describe() + "\n")
        return
    try:
        asyncio.run(program(options, Settings.from_pairs(options.pairs)))
    except SettingError as error:
        raise SystemExit(f"localfly: {error}; --help-settings lists them") from error
    except BackendUnavailable as error:
        raise SystemExit(f"localfly: {error}") from error
    except OSError as error:
        where = error.filename or f"port {options.port}"
        raise SystemExit(f"localfly: {where}: {error.strerror}") from error


if __name__ == "__main__":
    main()
