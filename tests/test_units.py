"""Sizes, shares and clocks as people type them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.units import (
    clipped,
    format_bytes,
    format_cap,
    format_clock,
    last_words,
    parse_bytes,
    parse_share,
    printable,
    without_controls,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4GB", 4_000_000_000),
        ("2GiB", 2 * 2**30),
        ("1.5g", 1_500_000_000),
        ("512M", 512_000_000),
        ("64Ki", 65536),
        (" 10 mb ", 10_000_000),
        ("123", 123),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


def test_percentage_is_of_the_total() -> None:
    assert parse_bytes("50%", total_bytes=1000) == 500


@pytest.mark.parametrize(
    "text",
    [
        *("", "GB", "-1GB", "4 parsecs", "0", "0MB", "150%", "nan", "4GBB", "9" * 30),
        *("1" * 400 + "GB", "2iB", "5i", "1e400GB", "4_0GB", "0x4GB", "inf%"),
        *("\u0664GB", "\uff14GB", "4\uff27\uff22"),
    ],
)
def test_nonsense_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_bytes(text, total_bytes=1000)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("2", "2GB"), ("1.5", "1.5GB"), ("64", "64MB"), ("500", "500MB"), ("600000", "600000KB")],
)
def test_a_number_without_its_unit_is_told_with_what_may_be_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"bytes; did you mean {meant}\?$"):
        parse_bytes(text, least_bytes=1_000_000)
    with pytest.raises(ValueError, match=r"^'1' is 1 byte; did you mean 1GB\?$"):
        parse_bytes("1", least_bytes=1_000_000)
    assert parse_bytes("2000000", least_bytes=1_000_000) == 2_000_000
    assert parse_bytes("1KB", least_bytes=1_000_000) == 1000


@pytest.mark.parametrize(("text", "share"), [("40%", 0.4), ("0.4", 0.4), ("100%", 1.0), ("1", 1.0)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text",
    ["0", "0%", "101%", "-5%", "half", "%", "nan", "1e400", "\u0664\u0660%", "1_0%", "\uff11"],
)
def test_bad_shares(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("40", "'40' means 4000 %; did you mean 40%?"),
        (" 2.5", "' 2.5' means 250 %; did you mean 2.5%?"),
        ("100", "'100' means 10000 %; did you mean 100%?"),
    ],
)
def test_a_share_without_its_sign_is_told_as_it_was_read(text: str, told: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(told) + "$"):
        parse_share(text)


def test_bytes_are_printed_with_a_unit() -> None:
    assert [format_bytes(n) for n in (12, 1536, 5 * 2**20, 3 * 2**30)] == [
        "12 B",
        "1.5 KiB",
        "5.0 MiB",
        "3.00 GiB",
    ]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("2GB", "2GB (1.86 GiB)"),
        ("300MB", "300MB (286.1 MiB)"),
        ("2GiB", "2.00 GiB"),
        ("1.5GB", "1500MB (1.40 GiB)"),
        ("300", "300 B"),
    ],
)
def test_a_cap_is_told_as_it_was_typed(typed: str, told: str) -> None:
    assert format_cap(parse_bytes(typed)) == told


def test_clock() -> None:
    assert format_clock(3661.5) == "01:01:01.500"
    assert format_clock(12.34, decimal=",") == "00:00:12,340"


@given(st.integers(0, 359_999_999))
def test_clock_loses_no_millisecond(total_ms: int) -> None:
    hours, minutes, seconds = format_clock(total_ms / 1000).split(":")
    back_ms = round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)
    assert back_ms == total_ms


def test_printable_is_one_line_that_can_be_encoded() -> None:
    assert printable("Grüße,\n 東京") == "Grüße, 東京"
    assert printable("\x1b[31m\udcff") == "\\x1b[31m\\udcff"


@given(st.text())
def test_printable_holds_for_any_text(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text).encode("utf-8").decode() == printable(text)


@given(st.text(), st.integers(8, 60))
def test_clipped_keeps_both_ends(text: str, most_chars: int) -> None:
    short = clipped(text, most_chars)
    assert len(short) <= max(most_chars, 8) and short[:1] == text[:1] and short[-1:] == text[-1:]
    assert (short == text) == (len(text) <= most_chars)


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "\u202eabc", "\x00", "\x7f"])
def test_what_steers_a_terminal_is_left_out(text: str) -> None:
    assert without_controls(f"a{text}b") == f"a{text[1:]}b"


def test_other_writing_stays() -> None:
    text = "a\tb\n \u0915\u094d\u200d\u0937 \u200f\u05e9 \U0001f469\u200d\U0001f4bb"
    assert without_controls(text) == text


@given(st.text("ab c", max_size=40).map(lambda text: " ".join(text.split())), st.integers(1, 20))
def test_the_last_words_are_whole_words_unless_one_is_too_long(text: str, n_chars: int) -> None:
    shown = last_words(text, n_chars)
    assert text.endswith(shown) and len(shown) <= n_chars
    words = text.split()
    if words and len(words[-1]) > n_chars:
        assert shown == words[-1][-n_chars:]
    else:
        n_shown = len(shown.split())
        assert shown == " ".join(words[len(words) - n_shown :])
        if n_shown < len(words):
            assert len(" ".join(words[len(words) - n_shown - 1 :])) > n_chars
