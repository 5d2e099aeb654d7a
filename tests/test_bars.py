"""Bars have a row each on a narrow terminal, and their figures are whole."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import numpy as np
import pyte
import pytest
import soundfile
from rich.console import Console

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.cli.evaluate.common import counted
from edge_audiokv.cli.speech.transcribe import _with_progress
from edge_audiokv.events import Final
from edge_audiokv.models.progress import progress_bar

LONG = "merge lora.gguf into SmolLM2-135M-Instruct.Q4_1.gguf"


def on_a_terminal(columns: int) -> Console:
    """A second passes whenever somebody looks at the clock."""
    clock = count()
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=columns,
        height=24,
        get_time=lambda: float(next(clock)),
    )


def rows(console: Console, *words: str) -> list[str]:
    """What stands on the screen once all `words` do: bars are drawn ten times a second."""
    deadline_s = time.monotonic() + 10
    while True:
        screen = pyte.Screen(console.width, 24)
        shown = pyte.Stream(screen)
        shown.feed("\x1b[20h" + console.file.getvalue())  # type: ignore[attr-defined]
        lines = [line.rstrip() for line in screen.display if line.strip()]
        if all(word in "".join(lines) for word in words) or time.monotonic() > deadline_s:
            return lines
        time.sleep(0.02)


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_what_is_fetched_checked_and_merged(columns: int) -> None:
    console = on_a_terminal(columns)
    with progress_bar(console) as report:
        for share in (0.25, 0.5, 0.75):
            report("verify encoder.onnx", int(share * 582_100_000), 582_100_000)
            report(LONG, int(share * 144_811_072), 144_811_072)
        verify, merge = rows(console, "436.6", "108.6")
    assert verify.startswith("verify encoder.onnx"[: max(6, columns - 60)])
    assert merge.startswith("merge lora")
    for row, figures in ((verify, "436.6/582.1 MB"), (merge, "108.6/144.8 MB")):
        before, found, after = row.partition(figures)
        assert found and before.endswith(" ")
        assert after.split()[-1].count(":") == 2 and "…" not in after
        assert ("MB/s" in after) == ("━" in row) == (columns >= 60)
    assert ("…" in merge) == (columns <= 80)


@pytest.mark.parametrize("columns", [40, 80])
def test_what_is_counted(columns: int) -> None:
    console = on_a_terminal(columns)
    with counted(128, LONG, console) as advance:
        advance(LONG * 2)
        (row,) = rows(console, "1/128")
    assert "1/128 " in row and row.startswith("merge lora")


@pytest.mark.parametrize("columns", [40, 80])
def test_what_is_transcribed(columns: int, tmp_path) -> None:
    console = on_a_terminal(columns)
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.zeros(16_000, np.float32), 16_000)
    seen: list[str] = []

    def transcribe(_source, *, on_segment, on_text, on_warning) -> Iterator[Final]:
        on_text("and so on " * 20 + "to the last word")
        seen.extend(rows(console, "…" if columns == 40 else "last"))
        yield Final(0, 0.0, 1.0, "text", ())

    with FileSource(path) as source:
        list(_with_progress(SimpleNamespace(transcribe=transcribe), source, LONG, console, print))
    (row,) = seen
    assert row.startswith("merge lo") and "0/1 s" in row
    assert row.endswith("last word") or columns == 40


def narrowed(before: pyte.Screen, columns: int) -> pyte.Screen:
    """The screen after a terminal that breaks lines anew was made narrower, as tmux does: rows are
    cut in two, and the cursor goes with the place that it was at.
    """
    pieces, cursor = [], (0, 0)
    for y, line in enumerate(before.display):
        text = line.rstrip()
        if y == before.cursor.y:
            cursor = len(pieces) + before.cursor.x // columns, before.cursor.x % columns
        pieces += [text[at : at + columns] for at in range(0, max(1, len(text)), columns)]
    after = pyte.Screen(columns, before.lines)
    shown = pyte.Stream(after)
    last = max(y for y, piece in enumerate(pieces) if piece or y == cursor[0])
    shown.feed("\x1b[20h" + "\n".join(pieces[: last + 1]))
    shown.feed(f"\x1b[{cursor[0] + 1};{cursor[1] + 1}H")
    return after


@pytest.mark.parametrize("columns", [30, 50, 70])
@pytest.mark.parametrize("told", [True, False], ids=["told", "not yet told"])
def test_a_window_that_becomes_narrower_keeps_no_bar(columns: int, told: bool) -> None:
    console = on_a_terminal(80)
    with progress_bar(console, loading="a model with a name that is as long as that") as report:
        report(LONG, 72_000_000, 144_811_072)
        report("verify encoder.onnx", 200_000_000, 582_100_000)
        assert len(rows(console, "72.0", "200.0", "loading")) == 3
        drawn = console.file.tell()  # type: ignore[attr-defined]
        console.width = columns if told else 80
        report(LONG, 73_000_000, 144_811_072)
        rows(console, "73.0")
    screen = pyte.Screen(80, 24)
    whole = console.file.getvalue()  # type: ignore[attr-defined]
    pyte.Stream(screen).feed("\x1b[20h" + whole[:drawn])
    screen = narrowed(screen, columns)
    pyte.Stream(screen).feed("\x1b[20h" + whole[drawn:])
    assert not "".join(screen.display).strip()


def test_text_above_bars_stays_and_they_go() -> None:
    console = on_a_terminal(80)
    with counted(3, "clips", console) as advance:
        for n in range(3):
            advance(f"clip {n}")
            console.print(f"line {n}")
    assert rows(console, "line 2") == ["line 0", "line 1", "line 2"]
