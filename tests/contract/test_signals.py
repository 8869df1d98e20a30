"""A step that does not hear a signal is ended by the second one, whatever it is busy with."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, ctypes, signal, threading, time
from flaude_action.signals import Listener
from flaude_action.waiting import Cancellation

def say(text):
    print(text, flush=True)

async def work():
    cancellation = Cancellation()
    listener = Listener(cancellation, asked_s={asked}, insisted_s={insisted})
    listener.listen()
    say("ready")
    {busy}

asyncio.run(work())
{after}
"""
BUSY = {
    "Python": "while True: pass",
    "a sleep": "time.sleep(600)",
    "a lock": "threading.Lock().acquire() and threading.Event().wait()",
    "C": "while True: ctypes.CDLL(None).pause()",
    "C that holds all else up": "await cancellation.wait_at_once(); ctypes.PyDLL(None).sleep(600)",
    "a thread that the loop's end waits for": "asyncio.ensure_future(asyncio.to_thread(time.sleep, 600))"
    "; await asyncio.sleep(0)",
    "a thread that Python's end waits for": "threading.Thread(target=time.sleep, args=(600,)).start()",
}


def started(busy: str, *, asked: float = 60, insisted: float = 60, after: str = "") -> subprocess.Popen[str]:
    """The program, when it can hear."""
    program = PROGRAM.format(busy=busy, asked=asked, insisted=insisted, after=after)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    until(process, "ready")
    return process


def until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{text}\n"


def end_of(process: subprocess.Popen[str]) -> int:
    """The exit code; when it does not end, the test fails and nothing of it is left."""
    try:
        return process.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("busy", BUSY.values(), ids=BUSY)
def test_the_second_signal_ends_it(busy: str) -> None:
    """It goes round the loop, the interpreter and what that waits for."""
    process = started(busy, insisted=0.2)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_when_nobody_waits_any_more(number: signal.Signals) -> None:
    """It is not left behind in a container for ever."""
    process = started("while True: pass", asked=0.2)
    process.send_signal(number)
    assert end_of(process) == 1


def test_the_third_signal_ends_it_at_once() -> None:
    """With the exit code of a step that was cancelled."""
    process = started("while True: listener._heard == 2 and (say('twice'), time.sleep(600))")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    until(process, "twice")
    process.send_signal(signal.SIGINT)
    assert end_of(process) == 130


@pytest.mark.parametrize(
    ("number", "wait"), [(signal.SIGINT, "wait"), (signal.SIGTERM, "wait_at_once")], ids=["INT", "TERM"]
)
def test_a_step_that_hears_ends_by_itself(number: signal.Signals, wait: str) -> None:
    """It is told on its loop, and its own exit code stays."""
    process = started(f"await cancellation.{wait}()", after="raise SystemExit(7)")
    process.send_signal(number)
    assert end_of(process) == 7


def test_a_signal_after_the_loop_s_end_is_survived() -> None:
    """What still has to be written is written."""
    after = "signal.raise_signal(signal.SIGINT); raise SystemExit(7)"
    assert end_of(started("pass", after=after)) == 7
