"""What an engine tells, as lines for people."""

from __future__ import annotations

from flaude_action.build_progress import FOLD_S, LINE_CHARS, BuildProgress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(*events: dict[str, object]) -> tuple[list[str], BuildProgress]:
    lines: list[str] = []
    progress = BuildProgress(lines.append, Clock())
    for event in events:
        progress.tell(event)
    return lines, progress


def test_a_builds_output_is_told_line_by_line() -> None:
    """Colours and the builder's own bookkeeping go; what commands print stays."""
    lines, progress = told(
        {"stream": "Step 1/2 : FROM debian"},
        {"stream": "\n"},
        {"stream": " ---> 0123456789ab\n"},
        {"stream": " ---> Running in 0123456789ab\n"},
        {"stream": "\x1b[91mwarning\n\x1b[0m"},
        {"stream": "Removing intermediate container 0123456789ab\n"},
        {"stream": "two\nlines\n"},
        {"aux": {"ID": "sha256:0"}},
        {"error": "it failed", "errorDetail": {"code": 1}},
    )
    assert lines == ["Step 1/2 : FROM debian", "warning", "two", "lines", "it failed"]
    assert progress.tail == "\n".join(lines)


def test_lines_are_whole_however_the_engine_cuts_them() -> None:
    """A long output comes in pieces of the engine's choosing; a line is told when it has ended."""
    lines, progress = told(
        {"stream": "Step 1/2 : RUN a"},
        {"stream": "\n"},
        {"stream": " ---> Running in 0123456789ab\n"},
        {"stream": "the fir"},
        {"stream": "st line\nthe sec"},
        {"stream": "ond line\n10%\r20%"},
        {"stream": "\r\n\x1b[91mno end"},
        {"stream": "Removing intermediate container 0123456789ab\n"},
        {"stream": "also none"},
        {"error": "it failed"},
        {"stream": "being wri"},
    )
    said = [
        "Step 1/2 : RUN a",
        "the first line",
        "the second line",
        "10%",
        "20%",
        "no end",
        "also none",
        "it failed",
    ]
    assert lines == said
    assert progress.tail == "\n".join([*said, "being wri"])


def test_the_tail_is_forty_lines() -> None:
    """The last line counts as one when the build is cut off in it."""
    _, progress = told({"stream": "".join(f"{number}\n" for number in range(100)) + "not all of"})
    assert progress.tail.splitlines() == [*map(str, range(61, 100)), "not all of"]


def test_a_line_without_an_end_costs_no_memory() -> None:
    """What of it would not be shown is not kept."""
    lines, progress = told(*[{"stream": "x" * 100_000}] * 20, {"stream": "\nnext\n"})
    assert lines == ["x" * 1000, "next"]
    assert progress.tail == "\n".join(lines)


def test_layers_are_folded_into_a_line_every_few_seconds() -> None:
    """However often each layer moves, and the finished ones count whole."""
    lines: list[str] = []
    clock = Clock()
    progress = BuildProgress(lines.append, clock)
    progress.begin("Pushing it")
    progress.tell({"status": "The push refers to repository [it]"})
    for part in range(1000):
        clock.now = part * FOLD_S / 500
        detail = {"current": part * 100_000, "total": 100_000_000}
        progress.tell({"id": "a", "status": "Pushing", "progressDetail": detail})
        if part == 400:
            progress.tell(
                {"id": "b", "status": "Pushing", "progressDetail": {"current": 1, "total": 50_000_000}}
            )
            progress.tell({"id": "b", "status": "Pushed", "progressDetail": {}})
    assert lines == [
        "Pushing it",
        "The push refers to repository [it]",
        "  1 of 2 layers, 100 of 150 MB",
    ]


def test_strange_events_are_no_trouble() -> None:
    """What has no text says nothing, and an overlong line is cut."""
    lines, _ = told({}, {"stream": 5}, {"status": None}, {"id": 1, "status": "hm", "progressDetail": None},
                    {"id": "a", "status": "Pulling from b"}, {"stream": "x" * 5000 + "\n"})  # fmt: skip
    assert lines == ["hm", "x" * 1000]


def test_what_an_engine_quotes_is_hidden() -> None:
    """A login in what is told, in the tail, and in a line that was cut."""
    lines: list[str] = []
    progress = BuildProgress(lines.append, Clock(), hide=lambda text: text.replace("s3cret", "***"))
    progress.tell({"error": "denied: s3cret"})
    progress.tell({"stream": "x" * (LINE_CHARS - 3) + "s3cret\nbegun s3cret"})
    assert lines[0] == "denied: ***"
    assert lines[1].endswith("x***")
    assert progress.tail.endswith("begun ***")
