"""Fetching the guest's files: how few execs it takes, and what a part that comes wrong costs."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.pretended import Clock

from flaude_action import guest_files, guest_link, waiting
from flaude_action.errors import FlyAPIError, GuestError
from flaude_action.guest_files import Coming, GuestFiles
from flaude_action.guest_link import GuestLink
from flaude_action.waiting import Patience
from flaude_guest.protocol import COLLECT_MAX_BYTES, PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NONCE = "0123456789abcdef"
Trouble = Exception | str | None
"""In the place of an answer: an error, another text, or none (then the right one comes)."""


@dataclass
class Answer:
    stdout: str
    exit_code: int | None = 0


class Guest:
    """A guest with files, behind a Fly that carries so many bytes of an exec's output.

    `spoil` may change an answer's document or text, by the exec's number; `troubles` come first, one an exec.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        *troubles: Trouble,
        cap: int = 1 << 30,
        too_much: Callable[[str], str] | None = None,
        spoil: Callable[[int, dict[str, Any]], object] = lambda number, document: document,
    ) -> None:
        self.files, self.troubles, self.cap = files, list(troubles), cap
        self.too_much = too_much or (lambda text: text[:cap])
        self.spoil = spoil
        self.execs = 0

    async def __call__(self, command: list[str], *, stdin: str = "", timeout: float) -> Answer:
        self.execs += 1
        if self.troubles and (trouble := self.troubles.pop(0)) is not None:
            if isinstance(trouble, Exception):
                raise trouble
            return Answer(trouble)
        words = command[2:]
        asked = [(words[at], int(words[at + 1]), int(words[at + 2])) for at in range(0, len(words), 3)]
        assert sum(length for _, _, length in asked) <= COLLECT_MAX_BYTES
        document = {"protocol": PROTOCOL, "nonce": NONCE, "parts": [self._part(*one) for one in asked]}
        text = json.dumps(self.spoil(self.execs, document))
        return Answer(self.too_much(text) if len(text) > self.cap else text)

    def _part(self, name: str, offset: int, length: int) -> dict[str, Any]:
        data = self.files[name][offset : offset + length]
        return {
            "name": name,
            "offset": offset,
            "size": len(self.files[name]),
            "eof": offset + len(data) >= len(self.files[name]),
            "sha256": hashlib.sha256(data).hexdigest(),
            "data": base64.b64encode(data).decode(),
        }


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_files, "WRONG_PAUSE_S", 0.0)
    monkeypatch.setattr(guest_link, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(waiting, "PAUSE_S", 0.0)


def coming(guest: Guest, folder: Path) -> list[Coming]:
    return [
        Coming(name, len(data), hashlib.sha256(data).hexdigest(), folder / name)
        for name, data in guest.files.items()
    ]


async def fetched(guest: Guest, folder: Path) -> list[Coming]:
    """All its files, which must have come whole."""
    files = coming(guest, folder)
    await GuestFiles(GuestLink(guest, NONCE)).fetch(files, Patience())
    for file in files:
        assert file.done
        assert file.path.read_bytes() == guest.files[file.name]
    assert names(folder) == sorted(guest.files)
    return files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


SMALL = {"patch": content(3000), "changeset": content(500), "transcript": content(20_000), "empty": b""}


async def test_small_files_come_in_one_exec(tmp_path: Path) -> None:
    """Patch, changeset and transcript of an ordinary run; an empty file costs nothing."""
    guest = Guest(SMALL)
    await fetched(guest, tmp_path)
    assert guest.execs == 1


CAPS = [
    300_000,
    1 << 20,
    *(
        pytest.param(cap, marks=pytest.mark.full)
        for cap in (64 * 1024, 100_000, 256 * 1024, 1_500_000, 5_000_000, 16 << 20)
    ),
]


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("how", ["cut", "refused", "lost"])
@pytest.mark.parametrize("size", [6_000_000, pytest.param(30_000_000, marks=pytest.mark.full)])
async def test_the_largest_chunk_is_found_once(tmp_path: Path, size: int, cap: int, how: str) -> None:
    """A cut answer tells what fits, and costs one exec. A refusal, or no answer, is searched behind."""

    def too_much(text: str) -> str:
        if how == "cut":
            return text[:cap]
        raise FlyAPIError(413 if how == "refused" else 0, "too large")

    guest = Guest({"patch": content(size), "changeset": content(900)}, cap=cap, too_much=too_much)
    await fetched(guest, tmp_path)
    fits = min(cap * 3 // 4, COLLECT_MAX_BYTES)
    least = -(-size // fits)
    factor, search = {"cut": (1.15, 2), "refused": (1.3, 8), "lost": (1.5, 20)}[how]
    assert guest.execs <= factor * least + search


class Picky(Guest):
    """Never answers an exec that asks for this file."""

    refuses = "changeset"

    async def __call__(self, command: list[str], *, stdin: str = "", timeout: float) -> Answer:
        if self.refuses in command:
            self.execs += 1
            raise FlyAPIError(500, "busy")
        return await super().__call__(command, stdin=stdin, timeout=timeout)


@pytest.mark.parametrize("refused", ["patch", "changeset", "transcript"])
async def test_a_file_that_never_comes_keeps_no_other(
    tmp_path: Path, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes whole is here when patience for the rest ends: after three minutes without an answer."""
    clock = Clock()
    monkeypatch.setattr(waiting, "PAUSE_S", 1.0)
    guest = Picky(SMALL)
    guest.refuses = refused
    patience = clock.patience(3600, most_s=180.0)
    files = coming(guest, tmp_path)
    with pytest.raises(FlyAPIError):
        await GuestFiles(GuestLink(guest, NONCE)).fetch(files, patience)
    assert [file.name for file in files if not file.done] == [refused]
    assert 180 <= clock.now < 200


TROUBLES: dict[str, list[Trouble]] = {
    "no answer": [FlyAPIError(0, "cut")],
    "no answer for long": [FlyAPIError(0, "cut")] * 200,
    "a storm": [FlyAPIError(code, "busy") for code in (408, 429, 500, 502, 503, 504) * 20],
    "no sense": [FlyAPIError(200, "the answer is not the result of a command")] * 9,
    "not running, for now": [FlyAPIError(412, "machine not running")] * 9,
    "empty": [""],
    "words": ["Traceback (most recent call last):"],
    "cut short": ['{"protocol": 1, "nonce": "0123456789abcdef", "parts": [{"name": "patch", "off'],
    "not an object": ["[1]"],
    "another protocol": ['{"protocol": 9, "parts": []}'],
    "another's nonce": ['{"protocol": 1, "nonce": "ffffffffffffffff", "parts": []}'],
    "no parts": ['{"protocol": 1, "nonce": "0123456789abcdef"}'],
    "an error": ['{"protocol": 1, "error": {"type": "collect_failed", "message": "no such file"}}'],
    "four wrong ones": ["", "[", "{}", "{"],
}


@pytest.mark.parametrize("troubles", TROUBLES.values(), ids=TROUBLES)
@pytest.mark.parametrize("at", [0, 2], ids=["at first", "in the middle"])
async def test_what_got_lost_is_asked_for_again(tmp_path: Path, at: int, troubles: list[Trouble]) -> None:
    """The work of a whole run does not hang on one answer, nor on Fly's good days."""
    guest = Guest({**SMALL, "patch": content(1_000_000)}, *[None] * at, *troubles, cap=300_000)
    await fetched(guest, tmp_path)


def flipped(part: dict[str, Any]) -> dict[str, Any]:
    data = bytearray(base64.b64decode(part["data"]))
    data[len(data) // 2] ^= 1
    return {**part, "data": base64.b64encode(data).decode()}


SPOILT: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "one bit": flipped,
    "other bytes under their own digest": lambda part: {
        **part,
        "data": base64.b64encode(b"other").decode(),
        "sha256": hashlib.sha256(b"other").hexdigest(),
    },
    "none": lambda part: {**part, "data": ""},
    "no base64": lambda part: {**part, "data": "%%%"},
    "half": lambda part: {**part, "data": part["data"][: len(part["data"]) // 8 * 4]},
    "another file's": lambda part: {**part, "name": "transcript"},
    "another place's": lambda part: {**part, "offset": part["offset"] + 1},
    "no digest": lambda part: {name: value for name, value in part.items() if name != "sha256"},
    "no part": lambda part: {},
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
async def test_a_part_that_came_wrong_is_asked_for_again(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """It alone: what came right beside it is kept."""

    def once(number: int, document: dict[str, Any]) -> dict[str, Any]:
        if number == 1:
            document["parts"][0] = spoil(document["parts"][0])
        return document

    guest = Guest(SMALL, spoil=once)
    await fetched(guest, tmp_path)
    assert guest.execs == 2


async def test_a_file_whose_digest_is_wrong_is_fetched_once_more(tmp_path: Path) -> None:
    """From its beginning; when it differs again it is told, and the others arrive all the same."""

    def same_part_wrong(part: dict[str, Any]) -> dict[str, Any]:
        data = b"x" * len(base64.b64decode(part["data"]))
        told = {"data": base64.b64encode(data).decode(), "sha256": hashlib.sha256(data).hexdigest()}
        return {**part, **told}

    def once(number: int, document: dict[str, Any]) -> dict[str, Any]:
        if number == 1:
            document["parts"][0] = same_part_wrong(document["parts"][0])
        return document

    def always(number: int, document: dict[str, Any]) -> dict[str, Any]:
        return once(1, document) if document["parts"][0]["name"] == "patch" else document

    guest = Guest(SMALL, spoil=once)
    await fetched(guest, tmp_path)
    assert guest.execs == 2
    (tmp_path / "again").mkdir()
    guest = Guest(SMALL, spoil=always)
    files = coming(guest, tmp_path / "again")
    await GuestFiles(GuestLink(guest, NONCE)).fetch(files, Patience())
    assert [file.done for file in files] == [False, True, True, True]
    assert isinstance(files[0].failed, GuestError)
    assert not (tmp_path / "again" / "patch").exists()


@pytest.mark.parametrize("wrong", ["", "words", '{"protocol": 1, "parts": []}', '{"protocol": 1, "par'])
async def test_a_guest_that_answers_wrongly_each_time_is_given_up(tmp_path: Path, wrong: str) -> None:
    """Not for ever: after five answers in a row that hold nothing."""
    guest = Guest(SMALL, *[wrong] * 100)
    with pytest.raises(GuestError):
        await GuestFiles(GuestLink(guest, NONCE)).fetch(coming(guest, tmp_path), Patience())
    assert guest.execs == guest_files.WRONG_ANSWERS


@pytest.mark.parametrize("code", [401, 403, 404, 413, 422])
async def test_a_refusal_is_believed_after_some(tmp_path: Path, code: int) -> None:
    """One may be a mistake, and the guest has the work still; of that size and less, a 413 is no other."""
    some = [FlyAPIError(code, "no")] * (guest_files.WRONG_ANSWERS - 1)
    await fetched(Guest(SMALL, *some), tmp_path)
    guest = Guest(SMALL, *[FlyAPIError(code, "no")] * 1000)
    with pytest.raises(FlyAPIError):
        await GuestFiles(GuestLink(guest, NONCE)).fetch(coming(guest, tmp_path / "more"), Patience())
    assert guest.execs < 20


@pytest.mark.parametrize("code", [409, 412, 503])
async def test_what_lasts_is_told_and_ends(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine in another's hands, too: told once in the log, and waited out for minutes, not for the run's
    whole deadline."""
    clock = Clock()
    monkeypatch.setattr(waiting, "PAUSE_S", 0.25)
    patience = clock.patience(3600, most_s=180.0)
    guest = Guest(SMALL, *[FlyAPIError(code, "held")] * 10)
    await GuestFiles(GuestLink(guest, NONCE)).fetch(coming(guest, tmp_path), patience)
    assert [message.split("(")[0] for message in caplog.messages if "answer" in message] == [
        "Fly does not answer ",
        "Fly answers again, after 28 s.",
    ]
    began, guest = clock.now, Guest(SMALL, *[FlyAPIError(code, "held")] * 2000)
    with pytest.raises(FlyAPIError) as raised:
        await GuestFiles(GuestLink(guest, NONCE)).fetch(coming(guest, tmp_path / "more"), patience)
    assert raised.value.status_code == code
    assert clock.now - began == pytest.approx(180, abs=waiting.LONGEST_PAUSE_S)


async def test_a_full_disk_loses_that_file_alone(tmp_path: Path) -> None:
    """What cannot be written is told; the others arrive."""
    guest = Guest(SMALL)
    (tmp_path / "patch.part").mkdir()
    files = coming(guest, tmp_path)
    await GuestFiles(GuestLink(guest, NONCE)).fetch(files, Patience())
    assert [file.done for file in files] == [False, True, True, True]
    assert isinstance(files[0].failed, OSError)


async def test_it_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    """What is here already is not asked for again, as after a cancel in the middle."""
    guest = Guest({"patch": content(2_000_000)}, None, None, None, *[FlyAPIError(403, "no")] * 5, cap=300_000)
    files = coming(guest, tmp_path)
    fetching = GuestFiles(GuestLink(guest, NONCE))
    with pytest.raises(FlyAPIError):
        await fetching.fetch(files, Patience())
    assert files[0].here > 400_000
    before = guest.execs
    await fetching.fetch(files, Patience())
    assert files[0].done
    assert guest.execs - before <= 8
