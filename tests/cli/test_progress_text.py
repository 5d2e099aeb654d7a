"""Bars show names and texts as they are: brackets in them are no markup."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from rich.console import Console

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.cli.evaluate.common import counted
from edge_audiokv.cli.speech.transcribe import _with_progress
from edge_audiokv.events import Final
from edge_audiokv.models.progress import progress_bar

NAMES = ("[/]", "[bold red]talk.wav", "[link=x", "a[/b].wav")


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(terminal: Console, name: str) -> None:
    with counted(2, name, terminal) as advance:
        advance(name)
    with progress_bar(terminal) as report:
        report(name, 1, 2)
    assert terminal.file.getvalue().count(name) >= 2


@pytest.mark.parametrize("text", NAMES)
def test_text_is_shown_as_it_was_heard(terminal: Console, tmp_path, text: str) -> None:
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.zeros(1600, np.float32), 16_000)

    def transcribe(_source, *, on_segment, on_text, on_warning):
        on_text(text)
        yield Final(0, 0.0, 0.1, text, ())

    hears = SimpleNamespace(transcribe=transcribe)
    with FileSource(path) as source:
        finals = list(_with_progress(hears, source, text, terminal, [].append))
    assert [final.text for final in finals] == [text]
    assert text in terminal.file.getvalue()
