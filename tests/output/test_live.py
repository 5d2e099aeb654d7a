"""The view, drawn on a console of fixed size."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edge_audiokv.events import (
    Answer,
    DeviceLost,
    DeviceRestored,
    Final,
    MemoryReport,
    Overflow,
    Partial,
    SessionEnded,
    SpeechStarted,
    Warned,
)
from edge_audiokv.output.live import LiveView, PlainView, Status, level_meter, make_view, render

GIB = 1 << 30
MEMORY = MemoryReport(9.0, 4 * GIB, 1 * GIB, {"weights": GIB // 2, "kv": GIB, "encoder": GIB // 16})


def drawn(status):
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(render(status))
    return console.file.getvalue()


def test_snapshot_of_a_busy_moment():
    status = Status(level_dbfs=-15.0, clock_s=754.2, realtime_factor=0.213)
    for event in (
        SpeechStarted(3, 750.0),
        Partial(3, 750.0, 754.0, "the quick brown fox", "the quick"),
        MEMORY,
        Overflow(753.0, 160),
    ):
        status.take(event)
    assert [line.rstrip() for line in drawn(status).splitlines()] == [
        "● ███████████████·····   -15 dB  00:12:34  0.21 x real time  160 samples dropped",
        "████████████████························ 1.00 GiB of 4.00 GiB",
        " kv 1.00 GiB weights 512.0 MiB encoder 64.0 MiB",
        "the quick brown fox",
    ]


def test_snapshot_of_silence_and_of_a_lost_device():
    assert drawn(Status()).rstrip() == "○ ····················  -120 dB  00:00:00"
    status = Status()
    status.take(DeviceLost(1.0, "USB mic"))
    assert drawn(status).startswith("no microphone ")
    status.take(DeviceRestored(2.0, "USB mic"))
    assert drawn(status).startswith("○ ")


@pytest.mark.parametrize(
    ("level_dbfs", "cells"), [(-120, 0), (-60, 0), (-30, 10), (0, 20), (6, 20)]
)
def test_level_meter(level_dbfs, cells):
    assert level_meter(level_dbfs).plain.count("█") == cells


def test_parts_beyond_the_cap_do_not_overflow_the_bar():
    over = MemoryReport(0.0, GIB, 2 * GIB, {"a": GIB, "b": GIB})
    status = Status(memory=over)
    assert drawn(status).splitlines()[1].count("█") == 40


def plain(events, finals):
    console = Console(file=io.StringIO(), width=40, color_system=None)
    with PlainView(console, finals) as view:
        for event in events:
            view.show(event)
    return console.file.getvalue().splitlines()


EVENTS = [
    SpeechStarted(0, 0.0),
    Partial(0, 0.0, 1.0, "hello"),
    Final(0, 0.0, 1.5, "Hello [bold]there[/bold], this line is longer than the console is wide."),
    Answer("Who?", "Me.", 2.0),
    Warned(2.0, "careful"),
    DeviceLost(3.0, "mic"),
    SessionEnded(4.0, 1, "end of input"),
]


def test_plain_lines_with_and_without_finals():
    told = [
        "warning: careful",
        "microphone lost: mic; waiting for it",
    ]
    assert plain(EVENTS, finals=False) == told
    assert plain(EVENTS, finals=True) == [
        "Hello [bold]there[/bold], this line is longer than the console is wide.",
        "Q: Who?  A: Me.",
        *told,
    ]


def test_live_view_scrolls_finals_and_takes_itself_away():
    file = io.StringIO()
    console = Console(file=file, width=80, height=24, force_terminal=True, color_system=None)
    with LiveView(console) as view:
        for event in EVENTS:
            view.show(event)
        view.status.level_dbfs = -30.0
        view.refresh()
    text = file.getvalue()
    assert "hello" in text and "Hello [bold]there" in text
    assert text.index("hello") < text.index("Hello [bold]there")
    # The last thing drawn is erased: the cursor goes up and the line is cleared.
    assert text.rstrip("\n").endswith("\x1b[2K") or "\x1b[1A\x1b[2K" in text[-40:]


def test_redraws_are_limited_but_events_are_not():
    now_s = [0.0]
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system=None, get_time=lambda: now_s[0]
    )
    with LiveView(console) as view:
        now_s[0] = 1.0
        view.refresh()
        size = len(console.file.getvalue())
        for _ in range(100):
            now_s[0] += 0.001
            view.refresh()
        assert len(console.file.getvalue()) == size
        view.show(SpeechStarted(0, 1.0))
        assert len(console.file.getvalue()) > size


def test_terminal_decides_the_view():
    assert isinstance(
        make_view(Console(file=io.StringIO(), force_terminal=True, _environ={}), finals=True),
        LiveView,
    )
    piped = make_view(Console(file=io.StringIO()), finals=True)
    assert isinstance(piped, PlainView) and not isinstance(piped, LiveView)
