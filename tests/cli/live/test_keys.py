"""Bytes of a terminal as keys, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.cli.live.keys import MAX_PASTE_CHARS, Key, KeyDecoder

CASES = [
    (b"hello", ["hello"]),
    ("wäre 船 🚤".encode(), ["wäre 船 🚤"]),
    (b"a\r", ["a", Key.ENTER]),
    (b"a\n", ["a", Key.ENTER]),
    (b"\x7f\x08\x15", [Key.BACKSPACE, Key.BACKSPACE, Key.CLEAR]),
    (b"\x17\x0b", [Key.CUT_WORD, Key.CUT_REST]),
    (b"\x01\x05\x02\x06", [Key.HOME, Key.END, Key.LEFT, Key.RIGHT]),
    (b"\x1b[A\x1b[B\x1b[C\x1b[D", [Key.UP, Key.DOWN, Key.RIGHT, Key.LEFT]),
    (b"\x1b[H\x1b[F", [Key.HOME, Key.END]),
    (b"\x1bOA\x1bOD\x1bOH\x1bOM", [Key.UP, Key.LEFT, Key.HOME, Key.ENTER]),
    (b"\x1b[3~\x1b[1~\x1b[4~", [Key.DELETE, Key.HOME, Key.END]),
    (b"\x1b[1;5D\x1b[3;2~", [Key.LEFT, Key.DELETE]),
    (b"\x1b\x7f", [Key.CUT_WORD]),
    # Keys and reports that mean nothing here: F1, F5, Alt-x, focus, the mouse, a colour.
    (b"a\x1bOP\x1b[[A\x1b[15~\x1bx\x1b[I\x1b[<0;1;2M\x1b[M\x1b[31mb", ["ab"]),
    (b"\x00\x07\x1c\xc2\x9b\xff\xfea", ["a"]),
    (b"\x1b[200~two\nlines\tand \x1b[31mcolours\x07\x1b[201~!", ["two lines and [31mcolours", "!"]),
]  # fmt: skip


def text_joined(keys: list[Key | str]) -> list[Key | str]:
    joined: list[Key | str] = []
    for key in keys:
        if joined and isinstance(key, str) and isinstance(joined[-1], str):
            joined[-1] += key
        else:
            joined.append(key)
    return joined


@pytest.mark.parametrize(("data", "keys"), CASES)
def test_keys_do_not_depend_on_how_reads_cut_them(data: bytes, keys: list[Key | str]) -> None:
    assert text_joined(KeyDecoder().feed(data)) == text_joined(keys)
    decoder = KeyDecoder()
    single = [key for at in range(len(data)) for key in decoder.feed(data[at : at + 1])]
    assert text_joined(single) == text_joined(keys)


def test_an_escape_alone_swallows_nothing() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.idle() == []
    assert decoder.feed(b"[A") == ["[A"]


def test_a_paste_is_bounded_and_ends_without_its_end() -> None:
    decoder = KeyDecoder()
    decoder.feed(b"\x1b[200~")
    for _ in range(100):
        assert decoder.feed(b"x" * 1000) == []
    (text,) = decoder.feed(b"\x1b[201~")
    assert text == "x" * MAX_PASTE_CHARS
    decoder.feed(b"\x1b[200~lost")
    found = [key for _ in range(20) for key in decoder.idle()]
    assert found == ["lost"]
    assert decoder.feed(b"\r") == [Key.ENTER]


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_any_bytes_give_printable_text_and_keys_within_bounds(pieces: list[bytes]) -> None:
    decoder = KeyDecoder()
    for piece in pieces:
        for key in decoder.feed(piece):
            assert isinstance(key, Key) or key.isprintable()
        assert len(decoder._escape) <= 40 and len(decoder._tail) <= 6
