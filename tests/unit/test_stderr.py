"""What Python says by itself in a stage of the action is quoted like everybody's words."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from tests.support.runner import StepLog

FORGED = "##[add-mask]e ##[error]forged"
SECRET = "fm2_0123456789abcdef"
SAYS = {
    "our logging": "logging.getLogger('flaude_action.machine').warning('it said %s', FORGED)",
    "another's logging": "logging.getLogger('other').error('it said %s', FORGED)",
    "a warning": "warnings.warn(FORGED)",
    "several lines": "logging.warning('it said\\n::error::x\\n%s', FORGED)",
    "a lost task": "fails = asyncio.ensure_future(broken()); await asyncio.sleep(0); del fails; gc.collect()",
    "a thread": "thread = threading.Thread(target=broken_here); thread.start(); thread.join()",
    "a destructor": "class Odd: __del__ = broken_here\n    Odd()",
    "an error nobody expected": "raise RuntimeError(FORGED + SECRET)",
    "half a line": "sys.stderr.write(FORGED)",
}
STAGE = """
import asyncio, gc, logging, sys, threading, warnings
from flaude_action import cli
import flaude_action.fly
FORGED, SECRET = {forged!r}, {secret!r}

def broken_here(*_):
    raise RuntimeError(FORGED)

async def broken():
    broken_here()

async def work(environ, report):
    report.mask([SECRET])
    {says}
    return 0

sys.exit(cli._stage(work))
"""


def run(script: str) -> tuple[int, str]:
    """A program's exit code and all that it printed, to stdout or stderr."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([sys.executable, "-c", script], **pipes, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("says", SAYS.values(), ids=SAYS)
def test_what_python_says_is_quoted(says: str) -> None:
    """Whichever way it gets to stderr, it can be read, and the runner obeys none of it."""
    code, said = run(STAGE.format(forged=FORGED, secret=SECRET, says=says))
    log = StepLog()
    log.read(said)
    assert "| " in said
    assert "##\\[add-mask]e ##\\[error]forged" in said
    assert [command.data for command in log.commands] == [SECRET]
    assert SECRET not in "\n".join(log.shown)
    assert code == ("raise" in says)


def test_the_library_says_nothing() -> None:
    """In somebody's program our warnings go where they tell their logging to, and to stderr not at all."""
    script = """
        import logging, flaude_action.run
        logging.getLogger("flaude_action.machine").warning("destroying")
    """
    assert run(textwrap.dedent(script)) == (0, "")
