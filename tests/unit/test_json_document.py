"""JSON of others: what is exact, and what is more than we take."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from tests.support.growth import seconds_of

from flaude_action.json_document import MARKS_MAX, ends_early, json_of

MIB = 2**20
PEAK_MB = 50


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ('{"a": [1, "b", null, true]}', {"a": [1, "b", None, True]}),
        ("1.50", "1.50"),
        ("1e999", "1e999"),
        ("9007199254740993.0", "9007199254740993.0"),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('"\\"[,{"', '"[,{'),
        ("", None),
        ("{", None),
        ("[NaN]", None),
        ("[-Infinity]", None),
        ("18446744073709551615", 18446744073709551615),
        ("9" * 501, None),
        ("9" * 5000, None),
        ("[" * 100_000, None),
        ('{"a":' * 100_000, None),
    ],
)
def test_what_it_says(text: str, document: Any) -> None:
    """Fractions stay as they are spelt; what is no JSON, or too deep or long to be any, says nothing."""
    assert json_of(text) == document
    assert json_of(text.encode()) == document


@pytest.mark.parametrize("body", [b"\xff", b"\xed\xa0\x80", "[1]".encode("utf-16"), "[1]".encode("utf-32")])
def test_other_encodings(body: bytes) -> None:
    """JSON between programs is UTF-8: https://www.rfc-editor.org/rfc/rfc8259#section-8.1"""
    assert json_of(body) is None


def test_fractions_as_numbers() -> None:
    """Who reckons with them says so."""
    assert json_of("[0.5, 2]", fraction=float) == [0.5, 2]


LONG = [pytest.param(unit, marks=pytest.mark.full) for unit in ("{},", '{"":0},', "[[]],", '"ab",')]


@pytest.mark.parametrize("unit", ["[],", '{"":{}},', '{"":' * 900, *LONG])
def test_many_values_in_few_bytes(unit: str) -> None:
    """Four MiB of the smallest values take no multiple of that in memory."""
    end = "0" + "}" * 900 + "," if unit.startswith('{"":{"') else ""
    unit += end
    body = f"[{(unit * (4 * MIB // len(unit)))[:-1]}]".encode()
    tracemalloc.start()
    document = json_of(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert document is None
    assert peak < PEAK_MB * MIB


def test_as_many_as_we_take() -> None:
    """What does come stays within it as well."""
    body = ("[" + '{"":0},' * (MARKS_MAX // 2 - 1) + "0]").encode()
    tracemalloc.start()
    document = json_of(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(document) == MARKS_MAX // 2
    assert peak < PEAK_MB * MIB


@pytest.mark.parametrize(
    "body",
    [
        "{" + ",".join(f'"{number:x}":0' for number in range(MARKS_MAX - 10)) + "}",
        "[" + ("9" * 500 + ",") * (4 * MIB // 501) + "0]",
        "[" + '",",' * (4 * MIB // 4) + "0]",
        "[" + ("9" * 4000 + ",") * 1000 + "0]",
        "[" + '"' * (4 * MIB - MARKS_MAX) + "," * (MARKS_MAX + 1),
    ],
    ids=["names", "numbers", "texts", "digits", "quotes"],
)
def test_nobody_waits_long(body: str) -> None:
    """While it is read nothing else is done, so it is soon over, or not begun. 50 ms; here twice as many."""
    assert min(seconds_of(json_of, body) for _ in range(5)) < 0.1


def test_as_many_texts_as_fit_between() -> None:
    """Each mark but those in texts may have a name and a value: they are no reason to refuse."""
    document = {str(number): ",," for number in range(MARKS_MAX)}
    assert json_of(json.dumps(document)) == document
    assert json_of(json.dumps(document | {"x": ","})) is None


def test_marks_in_a_text_are_none() -> None:
    """A long text may be of commas alone, be they escaped or not."""
    for text in ("," * MIB, '",\\' * (MIB // 3), "[{\n" * (MIB // 3)):
        assert json_of(json.dumps([text])) == [text]
        assert json_of(json.dumps(text)[:-1]) is None


def test_where_a_document_ends() -> None:
    """One that is cut anywhere lacks its end, whatever its texts are made of; other words never had one."""
    whole = json.dumps({"a": ["}]", '\\" }', {"b": [[], {}]}, "x" * 70_000], "c": 'say "{"'})
    assert all(ends_early(whole[:length]) for length in (*range(1, 60), *range(65_000, len(whole), 7)))
    others = (whole, whole + "\n", whole.replace('"a"', "a"), "", "Traceback {", "[1, 2")
    assert not any(map(ends_early, others))


@pytest.mark.parametrize("unit", ['"', '""', "\\", "{}[]", '\\"', "x"])
def test_nobody_waits_long_for_the_end(unit: str) -> None:
    """Whatever a document is made of that does not end."""
    body = "{" + unit * (4 * MIB // len(unit))
    tracemalloc.start()
    ends_early(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < PEAK_MB * MIB
    assert min(seconds_of(ends_early, body) for _ in range(5)) < 0.5
