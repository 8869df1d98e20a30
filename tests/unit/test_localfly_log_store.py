"""localfly.log_store: lines on disk, in order, whole after a crash."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localfly.log_store import Line, LogFile


def line(at_ns: int, message: str = "m", cursor: int = 0) -> Line:
    return Line(at_ns, message, "app", "info", cursor)


def messages(lines: list[Line]) -> list[str]:
    return [each.message for each in lines]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    times=st.lists(st.integers(min_value=1, max_value=500), max_size=300),
    after=st.integers(min_value=0, max_value=600),
)
def test_a_cursor_gives_exactly_the_later_lines(tmp_path: Path, times: list[int], after: int) -> None:
    """Whatever the writers' clocks say, lines come in one order and `after` cuts it in two."""
    path = tmp_path / "log.jsonl"
    path.unlink(missing_ok=True)
    file = LogFile(path)
    for number, at_ns in enumerate(times):
        file.append(line(at_ns, str(number)))
    everything = list(file.after(0))
    assert messages(everything) == [str(number) for number in range(len(times))]
    later = list(file.after(after))
    assert messages(later) == messages([each for each in everything if each.at_ns > after])
    file.close()


def test_times_differ_unless_they_are_made_coarse(tmp_path: Path) -> None:
    """By default no two lines share a time; with a step they do, as the cursor's weakness needs."""
    fine, coarse = LogFile(tmp_path / "fine"), LogFile(tmp_path / "coarse")
    for _ in range(3):
        fine.append(line(1_234))
        coarse.append(line(1_234), step_ns=1_000)
    assert [each.at_ns for each in fine.after(0)] == [1_234, 1_235, 1_236]
    assert [each.at_ns for each in coarse.after(0)] == [1_000] * 3
    fine.close()
    coarse.close()


def test_the_newest_lines_are_found_at_the_end_of_many(tmp_path: Path) -> None:
    """Reading the last hundred of ten thousand lines starts near the end of the file."""
    file = LogFile(tmp_path / "log")
    for number in range(1, 10_001):
        file.append(line(number, str(number)))
    assert messages(file.newest(100, 10_000)) == [str(number) for number in range(9_901, 10_001)]
    assert messages(file.newest(100, 500)) == [str(number) for number in range(401, 501)]
    file.close()


def test_a_torn_line_is_cut_off_and_the_cursor_is_known_again(tmp_path: Path) -> None:
    """After a crash the last whole line is the end, and its cursor says where the output goes on."""
    path = tmp_path / "log"
    file = LogFile(path)
    file.append(line(1, "a", cursor=10))
    file.append(line(2, "b", cursor=20))
    file.close()
    path.write_bytes(path.read_bytes()[:-5])
    again = LogFile(path)
    assert (messages(list(again.after(0))), again.cursor) == (["a"], 10)
    again.append(line(3, "c", cursor=20))
    assert messages(list(again.after(0))) == ["a", "c"]
    again.close()


def test_lines_can_be_lost(tmp_path: Path) -> None:
    """Losing drops what was told and what comes, or only what comes."""
    for keep_told, left in ((False, []), (True, ["a"])):
        file = LogFile(tmp_path / str(keep_told))
        file.append(line(1, "a"))
        file.lose(keep_told=keep_told)
        file.append(line(2, "b"))
        assert messages(list(file.after(0))) == left
        file.close()
