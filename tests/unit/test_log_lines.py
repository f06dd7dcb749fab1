"""Lines of a program's log: cut when they are too long, counted when they repeat. On virtual time."""

from __future__ import annotations

import time

import pytest

from utdstream.engine.stack.log_lines import LONGEST_BYTES, SAID_EVERY_S, Lines, Repeats


def lines_of(*pieces: bytes) -> list[bytes]:
    lines = Lines()
    return [line for piece in pieces for line in lines.feed(piece)] + list(lines.end())


def test_lines_when_they_come_in_pieces_are_whole() -> None:
    """Wherever the pieces end; the last needs no end."""
    text = b"one\n\ntwo and more\nthree"
    for at in range(len(text)):
        assert lines_of(text[:at], text[at:]) == [b"one", b"", b"two and more", b"three"]


@pytest.mark.parametrize("length", [LONGEST_BYTES, LONGEST_BYTES + 1, 1_000_000])
@pytest.mark.parametrize("piece_bytes", [1000, 65536])
def test_line_when_it_has_no_end_is_cut_and_the_rest_counted(length: int, piece_bytes: int) -> None:
    """The next line is whole again, and no more than one line is held."""
    text = b"x" * length + b"\nnext"
    lines = Lines()
    found = []
    for at in range(0, len(text), piece_bytes):
        found += lines.feed(text[at : at + piece_bytes])
        assert len(lines._begun) <= LONGEST_BYTES
    found += lines.end()
    left_out = length - LONGEST_BYTES
    cut = b" ... cut: %d more bytes" % left_out if left_out else b""
    assert found == [b"x" * LONGEST_BYTES + cut, b"next"]


TOKEN = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkb29yIn0.c2lnbmF0dXJlLW9mLWEtdG9rZW4"


@pytest.mark.parametrize(
    "token", [TOKEN, TOKEN[:30], TOKEN[:50]], ids=["whole", "cut in the 2nd", "cut in the 3rd"]
)
def test_line_when_it_holds_a_token_is_written_without_it(token: bytes) -> None:
    """livekit-server logs each token that it refuses."""
    assert lines_of(b'WARN refused {"token": "' + token + b'"}\n') == [b'WARN refused {"token": "(a token)"}']
    assert lines_of(b"GET /rtc?access_token=" + token) == [b"GET /rtc?access_token=(a token)"]


def test_line_when_it_is_cut_inside_of_a_token_shows_nothing_of_it() -> None:
    """The cut comes first."""
    line = lines_of(b"x" * (LONGEST_BYTES - 20) + b" " + TOKEN)[0]
    assert line.startswith(b"x" * (LONGEST_BYTES - 20) + b" (a token) ... cut: ")


def refused(number: int) -> bytes:
    return (
        f"2026-01-02 03:04:{number % 60:02d},{number % 1000:03d} WARNING 127.0.0.1:{40000 + number}"
        f" call_{number:024x} of PA_{chr(65 + number % 26) * 6} was refused"
    ).encode()


def test_lines_when_they_differ_in_numbers_alone_are_counted_and_said_once_a_minute() -> None:
    """The first are written; of the flood the last is, with how many were like it."""
    repeats, said = Repeats(alike=3), []
    for number in range(6000):
        now = number / 100
        said += repeats.take(refused(number), now) + repeats.due(now)
    assert said == [refused(0), refused(1), refused(2)]
    assert repeats.due_at == SAID_EVERY_S
    assert repeats.due(SAID_EVERY_S) == [refused(5999) + b" ... 5,996 more like it in 60 s"]
    assert repeats.take(refused(6000), 61.0) == []
    assert repeats.take(refused(6001), 62.0) == []
    assert repeats.due(119.9) == []
    assert repeats.due(120.0) == [refused(6001) + b" ... 1 more like it in 60 s"]
    assert repeats.due(180.0) == [], "a minute without them"
    assert repeats.take(refused(6002), 181.0) == [refused(6002)], "they are new again"


def test_lines_when_they_say_different_things_are_all_written() -> None:
    """Another word is another line; and a number of repeats in a minute is no flood."""
    repeats = Repeats(alike=10)
    for who in ("anna", "ben", "cleo"):
        for number in range(10):
            line = f"{number} the door was opened for {who}".encode()
            assert repeats.take(line, 1.0) == [line]
    assert repeats.end(2.0) == []


def test_line_when_it_alone_was_counted_is_written_as_it_is() -> None:
    """There is nothing to count."""
    repeats = Repeats(alike=1)
    repeats.take(b"line 1", 0.0)
    assert repeats.take(b"line 2", 1.0) == []
    assert repeats.end(2.0) == [b"line 2"]


def test_counted_lines_when_the_program_ends_are_said() -> None:
    """At once, with the seconds it was."""
    repeats = Repeats(alike=1)
    for number in range(5):
        repeats.take(b"line %d" % number, 10.0)
    assert repeats.end(17.0) == [b"line 4 ... 3 more like it in 7 s"]
    assert repeats.due_at is None


def test_kinds_when_there_are_hundreds_are_known_in_part_and_none_is_lost() -> None:
    """The one that is forgotten is said first."""
    repeats, said = Repeats(alike=1), []
    names = [
        f"{first}{second}".encode() for first in "abcdefghijklmnopqrst" for second in "abcdefghijklmnopqrst"
    ]
    for name in names:
        for _ in range(3):
            said += repeats.take(name, 0.0)
        assert len(repeats._kinds) <= 256
    said += repeats.end(0.0)
    assert sorted(said) == sorted([*names, *(name + b" ... 1 more like it in 0 s" for name in names)])


@pytest.mark.parametrize("line", [b"a" * 4096, b"a.b+c:" * 700, b"PA_" * 1400, b"A" * 4096, b"7" * 4096])
def test_line_when_it_is_made_to_be_slow_is_not(line: bytes) -> None:
    """A stranger's name is in many a line."""
    began = time.process_time()
    for _ in range(20):
        Repeats(alike=1).take(line, 0.0)
    assert time.process_time() - began < 0.5
