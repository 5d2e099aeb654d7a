"""What becomes of questions when listening ends."""

from __future__ import annotations

import signal

from rich.console import Console

from edge_audiokv.cli.live.desk import Desk
from edge_audiokv.cli.live.keys import Key
from edge_audiokv.events import Answer, Event, SessionEnded, Warned
from edge_audiokv.output.live import PlainView


class Asked:
    """A session that is asked, as far as a desk needs one."""

    clock_s = 9.0

    def __init__(self) -> None:
        self.questions: list[str] = []
        self.stopped = ""

    def ask(self, question: str, *, on_text: object) -> None:
        self.questions.append(question)

    def stop(self, reason: str) -> None:
        self.stopped = reason


class Kept(PlainView):
    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.shown: list[Event] = []

    def show(self, event: Event) -> None:
        self.shown.append(event)


def make_desk() -> tuple[Desk, Asked, Kept]:
    session, view = Asked(), Kept()
    return Desk(session, view, None), session, view  # type: ignore[arg-type]


def ask(desk: Desk, question: str) -> None:
    desk.pressed([*question, Key.ENTER])


def test_what_waits_when_the_sound_is_over_is_answered() -> None:
    desk, session, view = make_desk()
    ask(desk, "Who?")
    desk.handle(SessionEnded(9.0, 1, "end of the source"))
    assert session.questions == ["Who?"]
    assert not any(isinstance(event, (Warned, Answer)) for event in view.shown)


def test_who_breaks_off_is_told_what_has_no_answer() -> None:
    desk, session, view = make_desk()
    ask(desk, "Who?")
    ask(desk, "Where?")
    desk._on_signal(signal.SIGINT, None)
    desk.handle(SessionEnded(9.0, 1, session.stopped))
    assert session.questions == []
    told = [event.message for event in view.shown if isinstance(event, Warned)]
    assert told[0] == 'broken off before it was answered: "Who?"' and len(told) == 2
    assert isinstance(view.shown[-1], SessionEnded) and not view.status.question
