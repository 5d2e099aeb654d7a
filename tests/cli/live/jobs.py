"""A view and a keyboard without a model, for tests on a real terminal: `python jobs.py [fail]`."""

from __future__ import annotations

import sys
import time

from rich.console import Console

from edge_audiokv.cli.ending import signals_raise
from edge_audiokv.cli.live.keyboard import Keyboard, find_terminal
from edge_audiokv.cli.live.keys import Key
from edge_audiokv.cli.live.line import InputLine
from edge_audiokv.events import Final
from edge_audiokv.output.live import LiveView


class Echo:
    """Shows what is typed; a line that was sent is told as a final."""

    def __init__(self, view: LiveView) -> None:
        self.view, self.line = view, InputLine()
        self.over = False

    def pressed(self, keys: list[Key | str]) -> None:
        for key in keys:
            sent = self.line.press(key)
            if sent is not None:
                self.view.show(Final(0, 0.0, 1.0, f"you said {sent}"))
                self.over = self.over or sent == "end"
        self.view.status.typed = self.line.before, self.line.after
        self.view.redraw()

    def tick(self) -> None:
        self.view.refresh()

    def let_go(self) -> None:
        self.view.pause()

    def take_again(self) -> None:
        self.view.resume()


def main() -> None:
    view = LiveView(Console(), typing=True)
    hands = Echo(view)
    terminal = find_terminal(by_key=True, sound_on_stdin=False)
    with signals_raise(), view, Keyboard(hands, terminal, by_key=True):
        while not hands.over:
            time.sleep(0.02)
            if "fail" in sys.argv and hands.line.before == "now":
                raise RuntimeError("it failed")


if __name__ == "__main__":
    main()
