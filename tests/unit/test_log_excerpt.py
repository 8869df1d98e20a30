"""Which lines of a log are shown again: those of the work that failed, not those around it."""

from __future__ import annotations

from flaude_action.log_excerpt import PHASE_LINES, TAIL_LINES, LogExcerpt


def event(phase: str) -> str:
    return f'[flaude:event:{{"phase":"{phase}","seq":1,"type":"phase"}}]'


LOG = [
    "[flaude] checked out widget", event("setup"), "compiling", "", "src/a.c:3: error: x",
    event("agent"), "> Bash: make", "[runner] a platform line", event("collect"), event("hold"),
    "[flaude:exit:2]", " INFO Main child exited normally with code: 2", "[runner] machine exited",
]  # fmt: skip


def excerpt(*pages: list[str]) -> LogExcerpt:
    seen = LogExcerpt()
    for page in pages:
        seen.see(page)
    return seen


def test_lines_of_the_phase_that_failed() -> None:
    """A failed setup shows setup's own lines; guest, platform and Fly's init are left out."""
    seen = excerpt(LOG)
    assert seen.of_failure("setup", 9) == ("compiling", "src/a.c:3: error: x")
    assert seen.of_failure("setup", 1) == ("src/a.c:3: error: x",)
    for phase in ("agent", "model_api", "limit", "context"):
        assert seen.of_failure(phase, 9) == ("> Bash: make",)


def test_pages_do_not_matter() -> None:
    """However the log is cut into pages, the lines are the same."""
    assert excerpt(*([line] for line in LOG)).of_failure("setup", 9) == excerpt(LOG).of_failure("setup", 9)


def test_a_machine_that_failed_shows_what_it_was_at() -> None:
    """Without a phase of its own a failure shows the newest work, else the platform's words, else nothing."""
    assert excerpt(LOG).of_failure("machine", 9) == ("> Bash: make",)
    platform = excerpt(["[flaude] hello", "[runner] Pulling image failed"])
    assert platform.of_failure("machine", 9) == ("[runner] Pulling image failed",)
    assert platform.of_failure("clone", 9) == ()
    assert excerpt().of_failure("any", 9) == ()


def test_the_tail_has_everybody_but_no_events() -> None:
    """The end of the log is whole, but for lines that only machines read."""
    seen = excerpt(LOG)
    assert seen.tail(3) == tuple(LOG[-3:])
    assert not [line for line in seen.tail(99) if line.startswith("[flaude:event:")]
    assert seen.tail(0) == ()


def test_it_is_bounded() -> None:
    """However long the log, a fixed number of lines is kept; phases that nobody knows are no phases."""
    seen = excerpt(*([event(f"forged{number}"), f"line {number}"] for number in range(5000)))
    assert len(seen.tail(10**6)) == TAIL_LINES
    assert len(seen.of_failure("any", 10**6)) == PHASE_LINES
    assert len(seen._said) == 1
