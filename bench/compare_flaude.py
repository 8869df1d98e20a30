"""`make compare`: ends of the corpus beside flaude 0.6.1; writes docs/compared-with-flaude.md.

Both run the same image on the same localfly, and the same then happens to the machine. flaude is installed
from PyPI and called as its users call it, `run_and_destroy`; in its process Fly's addresses are replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.startup import FLAUDE, flaude_python
from tests.support import corpus_machine
from tests.support.corpus import FOREIGN, NONE, Case, run, staged, wrong
from tests.support.fly import LocalFlyHandle, eventually

if TYPE_CHECKING:
    import signal

PAGE = Path(__file__).parents[1] / "docs" / "compared-with-flaude.md"

# By name in the corpus: what happened, in words.
COMPARED = {
    "exit 0 told as crash": "It exits with 0; Fly leaves the zero out, as recorded in 2022 and 2026",
    "exit 3 told as monitor": "It exits with 3; Fly tells it under `MonitorEvent`, as recorded in 2022",
    "starts twice, exits with 0 and then 4": "Somebody restarts it: first it exits with 0, then with 4",
    "stopped by somebody, and exits with 0": "Somebody stops it in the middle of its work; it exits with 0",
    "memory crash": "Its memory is full; Fly tells a `crash` with exit code -1, as recorded in 2026",
    "memory flag and 137": "Its memory is full; Fly tells an `exit` with 137 and `oom_killed`",
    "host lost": "Its host is lost; the machine is gone and nothing tells how it ended",
    "forges a marker in state failed": "It ends in state `failed` without an exit event",
    "exit 0, an answer to create was lost": "Fly's answer to the create call is lost; it exits with 0",
    "exit 0, Fly had no time for two questions": "Fly answers two questions with 503; it exits with 0",
}
CASES = {case.name.removeprefix("foreign "): case for case in corpus_machine.FOREIGN}

HEAD = f"""# Compared with flaude

What {FLAUDE.replace("==", " ")} and flaude-action say of the same ends of a machine. `make compare` writes
this page: the same program runs on the same stand-in for Fly (localfly), and the same then happens to it.
flaude is the package from PyPI, called with `run_and_destroy(app, config)`; that the call returns is its way
to say success. Of flaude-action the step's outputs are shown.

The image here has no supervisor of ours, so both know equally little. In flaude-action's own machine image
the machine's result document decides, and most of these questions do not arise.
"""
COLUMNS = ("what happened", "flaude", "flaude-action")

THEIRS = """
import asyncio, json, sys, flaude, flaude.fly_client
flaps, api, app, image = sys.argv[1:]
flaude.fly_client.FLY_API_BASE = flaps + "/v1"
flaude.fly_client.FLY_PLATFORM_API_BASE = api
config = flaude.MachineConfig(prompt="Fix it.", claude_code_oauth_token="sk-ant-oat01-compared", image=image)
try:
    result = asyncio.run(flaude.run_and_destroy(app, config, wait_timeout=120))
except Exception as error:
    said = {"raised": type(error).__name__} | {
        name: getattr(error, name) for name in ("exit_code", "status_code") if hasattr(error, name)}
else:
    said = {"returned": True, "exit_code": result.exit_code}
print(json.dumps(said))
"""


@dataclass
class Watched:
    """flaude's run, to which a case's acts happen: it prints nothing, so the machine's own log is watched."""

    fly: LocalFlyHandle

    async def until(self, text: str) -> str:
        machines: list[dict[str, Any]] = []

        async def made() -> bool:
            machines[:] = (await self.fly.call("GET", "/machines")).json()
            return bool(machines)

        await eventually(made)
        line = text.removeprefix("| ")
        await self.fly.says(machines[0]["id"], line)
        return line

    def signal(self, number: signal.Signals) -> None:
        raise AssertionError("flaude is compared in what it says of machines, not of signals")


async def flaude_says(case: Case, folder: Path) -> str:
    """What flaude says of the case's end, in words for the table."""
    async with staged(case, folder) as stage:
        fly = stage.fly
        process = await asyncio.create_subprocess_exec(
            *(flaude_python(), "-I", "-c", THEIRS, fly.flaps_url, fly.api_url, fly.app, FOREIGN),
            env={"FLY_API_TOKEN": fly.token},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for act in case.acts:
            await act(Watched(fly), fly)
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"flaude did not run:\n{err.decode()}")
        return _in_words(json.loads(out), destroyed=bool(await fly.requests("DELETE")))


def _in_words(said: dict[str, Any], *, destroyed: bool) -> str:
    words = "success" if "returned" in said else f"failure: `{said['raised']}`"
    if "exit_code" in said:
        words += f", exit code {said['exit_code']}"
    elif "status_code" in said:
        words += f", HTTP {said['status_code']}"
    return words if destroyed else f"{words}; the machine is left to itself"


def we_say(case: Case) -> str:
    """What our step must say of it: tests/journey/test_corpus.py sees that it does."""
    failed = f"{case.conclusion}: `{case.type}`" if case.type else case.conclusion
    code = f", exit code {case.code}" if case.code else ""
    return f"{failed}{code}" + (f" (`{case.source}`)" if case.source != NONE else "")


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


async def compare(folder: Path) -> str:
    """The page. Raises RuntimeError when our step says anything else than it must."""
    rows = [row(*COLUMNS), row(*("---" for _ in COLUMNS))]
    for number, (name, happened) in enumerate(COMPARED.items()):
        case = CASES[name]
        places = [folder / f"{number}-{who}" for who in ("ours", "theirs")]
        for place in places:
            place.mkdir()
        with contextlib.redirect_stdout(io.StringIO()):  # the step's whole log
            ended = await run(case, places[0])
        if problems := wrong(case, *ended):
            raise RuntimeError(f"{name}: {problems}")
        rows.append(row(happened, await flaude_says(case, places[1]), we_say(case)))
        print(rows[-1], flush=True)
    return HEAD + "\n" + "\n".join(rows) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="flaude-compare-") as folder:
        PAGE.write_text(asyncio.run(compare(Path(folder))))
    print(f"written: {PAGE.relative_to(Path.cwd())}", file=sys.stderr)


if __name__ == "__main__":
    main()
