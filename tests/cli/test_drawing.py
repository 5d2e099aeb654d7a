"""What moves is drawn where nobody else writes."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from edge_audiokv.cli.drawing import may_draw

pty = pytest.importorskip("pty")


@pytest.fixture
def screen() -> Iterator[TextIO]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield stream
    os.close(ours)


def test_a_pipe_may_lead_to_the_same_screen_and_a_file_does_not(
    screen: TextIO, monkeypatch, tmp_path
) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe, (tmp_path / "results.txt").open("w") as file:
        for stdout, drawn in ((pipe, False), (file, True), (screen, True), (io.StringIO(), True)):
            monkeypatch.setattr(sys, "stdout", stdout)
            assert may_draw(screen) is drawn
        monkeypatch.setattr(sys, "stdout", None)
        assert may_draw(screen)
        assert not may_draw(file)
    os.close(read)


def test_a_command_in_the_background_leaves_the_screen_to_the_shell(
    screen: TextIO, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    assert not may_draw(screen)
    assert may_draw(screen, behind=True)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    assert may_draw(screen)
    # A shell without job control has no other way to put it there.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert not may_draw(screen) and not may_draw(screen, behind=True)
    finally:
        signal.signal(signal.SIGINT, before)
