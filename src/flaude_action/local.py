"""The verb `local`: serve localfly to people, for their own workflows and tests, and say how to point at it.

What it serves is `localfly`'s; a rehearsal that needs nothing set up is the verb `rehearse`.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from flaude_action.rehearsal.engine import Engine, choose_engine
from flaude_action.rehearsal.image import Unavailable
from localfly.backend import BackendUnavailable
from localfly.serve import serving, told_to_end
from localfly.settings import SettingError, Settings, describe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from localfly.serve import BackendName

_NOTE = """\
localfly stands in for Fly at {url}. Point a step, a shell or flyctl at it:

  FLY_FLAPS_BASE_URL={url}
  FLY_API_BASE_URL={url}
  FLY_API_TOKEN=any-text
  fly_app: {app}
  image: {image}

It starts machines for whoever asks on this computer. Ctrl-C ends it and removes them.
"""


def tell_settings() -> int:
    """Print what `--set` takes: each setting with its default and its reason."""
    _say(describe() + "\n")
    return 0


async def serve(
    backend: BackendName, port: int, state: Path | None, pairs: Sequence[str], *, cache: Path
) -> int:
    """Serve until SIGINT or SIGTERM. 0, or 2 when it cannot start (the reason is on stderr).

    With processes for machines, `cache` is where their commands and, if need be, Claude Code are put.
    """
    engine = Engine("docker", "one that your Docker engine has, made from ours (docs/images.md)", "")
    images = None
    try:
        settings = Settings.from_pairs(list(pairs))
        told = told_to_end()
        if backend == "process":
            engine = await choose_engine("process", cache, lambda text: _say(f"{text}\n"))
            images = cache / "images.json"
            images.write_text(json.dumps(engine.programs))
        async with serving(backend, settings=settings, state=state, port=port, images=images) as address:
            app = settings.apps[0] if settings.apps else "<name>"
            _say(_NOTE.format(url=address.flaps, app=app, image=engine.image))
            await told.wait()
    except SettingError as problem:
        return _refuse(f"localfly: {problem}; --help-settings lists them")
    except (BackendUnavailable, Unavailable) as problem:
        return _refuse(f"localfly: {problem}")
    except OSError as problem:
        where = f"use {problem.filename}" if problem.filename else f"serve on port {port}"
        return _refuse(f"localfly cannot {where}: {problem.strerror}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _refuse(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 2
