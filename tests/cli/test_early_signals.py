"""A signal at any moment of a start ends the command with its code, and without a traceback."""

from __future__ import annotations

import io
import logging
import random
import signal
import sys
import threading
import time
import types
from typing import Any

import pytest
import soundfile
from rich.console import Console

from edge_audiokv.bars import Bars
from edge_audiokv.cli.ending import Terminated, signals_raise
from edge_audiokv.native import library

pytestmark = pytest.mark.alone

CODES = {signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2), signal.SIGHUP: (129, -1)}


@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("args", [("policies",), ("transcribe", "missing.wav"), ("models", "list")])
def test_a_signal_while_modules_are_imported(command, number, args) -> None:
    draw = random.Random(f"{number}{args}")
    for _ in range(3):
        with command.start(*args) as process:
            time.sleep(draw.uniform(0.06, 0.5))
            process.send_signal(number)
            _, err = process.communicate()
        if "edge_audiokv" not in err and process.returncode != 0 and "frozen" in err:
            continue  # Python's own start, which no program can do anything about
        assert "Traceback" not in err and "ImportError" not in err, err
        # Whoever is done before the signal comes ends as usual.
        assert process.returncode in (*CODES[number], 0, 3), err


def test_a_signal_during_an_import_waits_until_it_is_over(tmp_path, monkeypatch) -> None:
    (tmp_path / "swallows_errors.py").write_text(
        "import signal\n"
        "try:\n    signal.raise_signal(signal.SIGTERM)\n    reached = True\n"
        "except BaseException:\n    reached = False\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Terminated) as caught, signals_raise():
        import swallows_errors

        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            time.sleep(0.01)
    assert caught.value.code == 143
    module = sys.modules.pop("swallows_errors")
    assert isinstance(module, types.ModuleType) and module.reached
    assert swallows_errors is module


def wait() -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        time.sleep(0.01)


class Interrupted(io.BytesIO):
    """A file in whose first read a signal comes."""

    asked = False

    def _ask(self) -> None:
        if not self.asked:
            self.asked = True
            signal.raise_signal(signal.SIGTERM)

    def readinto(self, buffer: Any, /) -> int:
        self._ask()
        return super().readinto(buffer)


def test_a_signal_while_libsndfile_reads_is_not_lost(spoken, capfd) -> None:
    file = Interrupted(spoken["letter"].path.read_bytes())
    with pytest.raises(Terminated), signals_raise():
        with soundfile.SoundFile(file) as sound:
            sound.read()
        wait()
    assert file.asked and "Traceback" not in capfd.readouterr().err


@pytest.mark.integration
def test_a_signal_while_llama_writes_its_log_is_not_lost(capfd) -> None:
    loaded = library.load()

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            signal.raise_signal(signal.SIGTERM)

    asking = Asking()
    library.log.addHandler(asking)
    try:
        with pytest.raises(Terminated), signals_raise():
            loaded.llama._edge_audiokv_log_callback(4, b"a warning", None)
            library.log.removeHandler(asking)
            wait()
    finally:
        library.log.removeHandler(asking)
    assert "ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("turn", [*range(6)])
def test_a_signal_while_a_bar_is_drawn_or_taken_down_leaves_nothing(turn: int) -> None:
    class Asking(io.StringIO):
        """A terminal at whose `turn`th drawing a signal comes."""

        def isatty(self) -> bool:
            return True

        def flush(self) -> None:
            if threading.current_thread() is threading.main_thread():
                drawn.append(len(self.getvalue()))
                if len(drawn) == turn + 1:
                    signal.raise_signal(signal.SIGTERM)

    drawn: list[int] = []
    terminal = Asking()
    console = Console(file=terminal, force_terminal=True, force_interactive=True)
    with pytest.raises(Terminated), signals_raise():
        with Bars("{task.description}", console=console) as bars:
            bars.add_task("hearing")
            bars.stop()
            bars.start()
        wait()
    assert len(drawn) > turn
    # The cursor is there again, and the next view can be put up.
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
    assert console.set_live(bars.live)


def test_a_signal_while_something_is_finalised_is_not_lost() -> None:
    class Ending:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    ending = [Ending()]
    with pytest.raises(Terminated), signals_raise():
        ending.clear()
        wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_raise_within_and_are_as_before_afterwards(number) -> None:
    before = signal.getsignal(number)
    expected = KeyboardInterrupt if number == signal.SIGINT else Terminated
    with pytest.raises(expected), signals_raise():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before
