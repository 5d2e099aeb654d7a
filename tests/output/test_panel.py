"""The panel, row by row, at widths that people have."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from edge_audiokv.events import (
    Answer,
    DeviceLost,
    DeviceRestored,
    Final,
    MemoryReport,
    Overflow,
    Partial,
    SpeechStarted,
)
from edge_audiokv.output.panel import Status, level_meter, panel

GIB = 1 << 30
MEMORY = MemoryReport(9.0, 4 * GIB, 1 * GIB, {"weights": GIB // 2, "kv": GIB, "encoder": GIB // 16})


def drawn(status: Status, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, height=height, color_system=None)
    return [row.plain for row in panel(status, console)]


def busy() -> Status:
    status = Status(level_dbfs=-15.0, clock_s=754.2, realtime_factor=0.213, typed=("where", ""))
    for event in (
        SpeechStarted(3, 750.0),
        Partial(3, 750.0, 754.0, "the quick brown fox", "the quick"),
        MEMORY,
        Overflow(753.0, 160),
    ):
        status.take(event)
    return status


def test_a_busy_moment() -> None:
    assert drawn(busy(), 100) == [
        "",
        "● listening 00:12:34 ███████████████····· -15 dB  160 samples dropped",
        "memory ████████······················ 1.00 GiB of 4.00 GiB (25%)",
        "the quick brown fox",
        "> where ",
    ]


def test_what_matters_less_is_told_where_there_is_room() -> None:
    status = busy()
    status.dropped_samples = 0
    assert drawn(status, 80)[1].endswith(" -15 dB  realtime factor 0.21")
    assert drawn(status, 60)[1].endswith(" -15 dB")


def test_a_narrow_terminal() -> None:
    assert drawn(busy(), 40) == [
        "",
        "● listening 00:12:34 ████████··· -15 dB",
        "memory ████············· 1.00 GiB (25%)",
        "the quick brown fox",
        "> where ",
    ]
    assert drawn(busy(), 20)[1:3] == ["● listening 00:12:…", "memory 25%"]


def test_a_low_terminal_keeps_what_matters_most() -> None:
    assert drawn(busy(), 40, 4) == [
        "● listening 00:12:34 ████████··· -15 dB",
        "the quick brown fox",
        "> where ",
    ]
    assert drawn(busy(), 40, 2) == ["> where "]


def test_a_terminal_of_few_characters() -> None:
    rows = drawn(busy(), 60, encoding="ascii")
    assert rows[1:3] == [
        "* listening 00:12:34 ###############..... -15 dB",
        "memory ######................... 1.00 GiB of 4.00 GiB (25%)",
    ]
    assert all(row.isascii() for row in rows)


def test_silence_and_a_lost_device() -> None:
    assert drawn(Status()) == ["", "○ listening 00:00:00 ···················· -120 dB", ""]
    status = Status()
    status.take(DeviceLost(1.0, "USB mic"))
    assert drawn(status)[1].startswith("○ no microphone 00:00:00")
    status.take(DeviceRestored(2.0, "USB mic"))
    assert drawn(status)[1].startswith("○ listening")
    status.ending = True
    assert drawn(status)[1].startswith("○ ending")


def test_loading_says_what_and_how_far_and_that_it_hears() -> None:
    status = Status(loading="smollm2-audio", loading_s=3.4)
    assert drawn(status)[1] == "○ loading smollm2-audio  3 s"
    status.level_dbfs = -30.0
    assert drawn(status)[1] == "○ loading smollm2-audio  3 s  █████·····"
    status.loading_detail = "fetch weights.gguf: 40% of 135.0 MiB"
    assert "40% of 135.0 MiB" in drawn(status)[1]
    assert len(drawn(status, 30)[1]) <= 29


def test_what_is_asked_stands_there_until_it_is_answered() -> None:
    status = Status(question="where did it go?", typed=("", ""))
    rows = drawn(status)
    assert rows[1].startswith("○ answering") and "Q: where did it go?" in rows
    status.answer = "into " + "the wide " * 30 + "sea"
    rows = drawn(status)
    assert rows[-2].endswith("sea") and len([row for row in rows if "wide" in row]) == 2
    status.take(Answer("where did it go?", status.answer, 2.0))
    assert not any("wide" in row or "Q:" in row for row in drawn(status))


def test_long_words_are_seen_to_their_end() -> None:
    status = Status()
    status.take(SpeechStarted(0, 0.0))
    text = " ".join(f"word{number}" for number in range(100))
    status.take(Partial(0, 0.0, 9.0, text, text[:50]))
    rows = drawn(status, 40)
    assert len(rows) == 5 and rows[-1].endswith("word99")
    status.take(Final(0, 0.0, 9.0, text))
    assert len(drawn(status, 40)) == 3


@pytest.mark.parametrize("width", [3, 10, 20, 40, 80, 200])
@pytest.mark.parametrize("text", ["where is it", "船" * 90, "we\u0301" * 80, "x" * 300, "🚤a" * 60])
def test_the_input_shows_its_cursor_and_fits(width: int, text: str) -> None:
    for at in (0, 1, len(text) // 2, len(text) - 1, len(text)):
        status = Status(typed=(text[:at], text[at:]))
        file = io.StringIO()
        console = Console(file=file, width=width, height=9, force_terminal=True)
        row = panel(status, console)[-1]
        assert cell_len(row.plain) <= max(width - 1, 5)
        (cursor,) = [span for span in row.spans if span.style == "reverse"]
        under = row.plain[cursor.start : cursor.end]
        assert under[0] == (text[at] if at < len(text) else " ")
        if cell_len(text) + 4 < min(width, 80):
            assert row.plain.rstrip() == f"> {text}"
        elif width >= 20 and at:
            assert row.plain[cursor.start - 1] == text[at - 1]


def test_no_row_reaches_the_last_column() -> None:
    status = busy()
    status.question, status.answer, status.note = "q" * 300, "a" * 300, "n" * 300
    status.partial = status.stable = "p" * 900
    status.typed = "t" * 400, "t" * 400
    for width in range(8, 120):
        for loading in ("", "m" * 200):
            status.loading = loading
            assert all(cell_len(row) < width for row in drawn(status, width)), width


@pytest.mark.parametrize(
    ("level_dbfs", "cells"), [(-120, 0), (-60, 0), (-30, 10), (0, 20), (6, 20)]
)
def test_level_meter(level_dbfs: float, cells: int) -> None:
    assert level_meter(level_dbfs).plain.count("█") == cells


def test_more_than_the_cap_does_not_overflow_the_bar() -> None:
    over = MemoryReport(0.0, GIB, 2 * GIB, {"a": GIB, "b": GIB})
    row = drawn(Status(memory=over))[2]
    assert row.count("█") == 30 and row.endswith("2.00 GiB of 1.00 GiB (200%)")
