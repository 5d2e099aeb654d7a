"""The keyboard on a real terminal: what is typed is seen, and the terminal is given back."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sys
import termios
from pathlib import Path

import psutil
import pytest

from edge_audiokv.cli.live.keyboard import Keyboard
from edge_audiokv.cli.live.keys import Key

from ..screen import Terminal

JOBS = str(Path(__file__).with_name("jobs.py"))
ECHO = termios.ECHO | termios.ICANON
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="terminals"),
    pytest.mark.alone,
]


def start(*args: str, **options: object) -> Terminal:
    return Terminal(argv=[sys.executable, JOBS, *args], **options)  # type: ignore[arg-type]


def panel_of(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(">") or "listening" in line]


@pytest.mark.parametrize("columns", [40, 80])
def test_what_is_typed_is_seen_and_sent(columns: int) -> None:
    with start(columns=columns) as terminal:
        terminal.until(lambda lines: "question" in "".join(lines) and not terminal.modes[3] & ECHO)
        terminal.type("wäs lost 船".encode())
        terminal.until(lambda lines: lines[-1] == "> wäs lost 船")
        terminal.type(b"\x7f" * 3)
        terminal.until(lambda lines: lines[-1] == "> wäs los")
        terminal.type(b"\x1b[200~t\nand found\x1b[201~")
        terminal.until(lambda lines: lines[-1] == "> wäs lost and found")
        terminal.type(b"\x17\x1b[D\x1b[D\x15\r")
        terminal.until_words("you said d")
        terminal.type(b"\x1b[A")
        terminal.until(lambda lines: lines[-1] == "> d")
        terminal.type(b"\x15end\rleft over")
        assert terminal.finish() == 0
        assert terminal.lines == ["00:00:00 you said d", "00:00:00 you said end"]
        assert terminal.modes == terminal.modes_before and not terminal.screen.cursor.hidden
        assert terminal.unread == 0


class Gone:
    """Hands that let go of the keyboard at the first key."""

    def pressed(self, keys: list[Key | str]) -> None:
        raise OSError("gone")

    def tick(self) -> None:
        pass

    def let_go(self) -> None:
        pass

    def take_again(self) -> None:
        pass


@pytest.mark.parametrize("by_key", [True, False])
def test_what_nobody_read_is_no_command_for_the_shell(by_key: bool) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    keyboard = Keyboard(Gone(), os.dup(theirs), by_key=by_key)
    with keyboard:
        os.write(ours, b"x\n")
        keyboard._thread.join(10)
        os.write(ours, b"rm -r everything\n")
        assert select.select([theirs], [], [], 10)[0]
    assert not select.select([theirs], [], [], 0)[0]
    assert termios.tcgetattr(theirs) == before
    for handle in (ours, theirs):
        os.close(handle)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (signal.SIGTERM, "Terminated"),
        (signal.SIGHUP, "Terminated"),
        (b"\x03", "KeyboardInterrupt"),
        # Ctrl-\ does nothing.
        (b"\x1cnow", "it failed"),
    ],
)
def test_however_it_ends_the_terminal_is_as_it_was(end: signal.Signals | bytes, words: str) -> None:
    with start("fail") as terminal:
        terminal.until(lambda _: not terminal.modes[3] & ECHO)
        if isinstance(end, bytes):
            terminal.type(end)
        else:
            terminal.process.send_signal(end)
        assert terminal.finish() != 0
        assert terminal.modes == terminal.modes_before and not terminal.screen.cursor.hidden
        assert panel_of(terminal.lines) == []
        assert words in terminal.lines[-1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="a shell with job control")
def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_back() -> None:
    shell = [str(shutil.which("bash")), "--norc", "--noprofile", "-i"]
    with Terminal(argv=shell, PS1="$ ", HISTFILE="") as terminal:
        terminal.until(lambda lines: lines and lines[-1] == "$")
        terminal.type(f"{sys.executable} {JOBS}\r".encode())
        terminal.until_words("type a question")
        terminal.type(b"begun")
        terminal.until_words("> begun")
        terminal.type(b"\x1a")
        terminal.until_words("Stopped")
        assert panel_of(terminal.lines) == [] and not terminal.screen.cursor.hidden
        terminal.type(b"echo $((6 * 7))\r")
        terminal.until(lambda lines: "42" in lines)
        terminal.type(b"fg\r")
        terminal.until_words("> begun")
        # Behind the shell it draws and reads nothing.
        terminal.type(b"\x1a")
        terminal.until(lambda lines: sum("Stopped" in line for line in lines) == 2)
        terminal.type(b"bg\recho $((7 * 9))\r")
        terminal.until(lambda lines: "63" in lines)
        assert panel_of(terminal.lines) == []
        terminal.type(b"fg\r")
        terminal.until_words("> begun")
        # Stopped as nobody can prevent, which costs it the terminal's modes.
        (child,) = children(terminal.process.pid)
        before = len(terminal.raw)
        os.kill(child, signal.SIGSTOP)
        terminal.until_written(b"Stopped", before)
        terminal.until_written(b"$ ", terminal.raw.rindex(b"Stopped"))
        # Its panel is still on the screen: it has taken the terminal when it draws it anew.
        before = len(terminal.raw)
        terminal.type(b"fg\r")
        terminal.until_written(b"listening", before)
        terminal.until_words("> begun")
        terminal.type(b"\x15end\r")
        terminal.until_words("you said end")
        terminal.until(lambda lines: lines[-1] == "$")
        terminal.type(b"exit\r")
        assert terminal.finish() == 0


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]
