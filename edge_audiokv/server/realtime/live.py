"""The job of a live client: its orders, one after another, until it has no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edge_audiokv.audio.live.lull import Lull
from edge_audiokv.errors import InputError
from edge_audiokv.events import Final
from edge_audiokv.server.chat import asked
from edge_audiokv.server.engine import Engine, Told
from edge_audiokv.server.jobs import (
    Answered,
    Cleared,
    Failed,
    Heard,
    Item,
    Job,
    NothingOpen,
    Steps,
    Unanswered,
)
from edge_audiokv.server.live.arrivals import Arrivals
from edge_audiokv.server.realtime.inbox import Inbox
from edge_audiokv.server.realtime.wishes import (
    Ask,
    Clear,
    EndTurn,
    Feed,
    Finish,
    Follow,
    Hear,
    Order,
)

# Of what is fed at once: after each piece others may have the model.
_PIECES_PER_S = 10
# With more sound waiting there is no time for texts that may change.
_BEHIND_S = 2.0


def steps(inbox: Inbox, told: Callable[[float | None], None]) -> Steps:
    """The job: what `inbox` says. `told` is called with each final text: how many seconds after
    the end of speech it is known, if that can be said.
    """

    def work(engine: Engine, job: Job) -> Iterator[Item | None]:
        return _Work(engine, job, inbox, told).steps()

    return work


class _Work:
    def __init__(
        self, engine: Engine, job: Job, inbox: Inbox, told: Callable[[float | None], None]
    ) -> None:
        self._engine, self._job, self._inbox = engine, job, inbox
        self._told = told
        self._arrivals = Arrivals()

    def steps(self) -> Iterator[Item | None]:
        engine, inbox = self._engine, self._inbox
        lull = _lull(engine.endpoint.silence_duration_ms)
        asked_s = time.monotonic()
        while True:
            order = inbox.get()
            waited_s = time.monotonic() - asked_s
            # Who sends nothing at all in the middle of a sentence has ended it.
            if lull.heard(len(order.pcm) if isinstance(order, Feed) else 0, waited_s):
                yield from self._finals(engine.pause())
            if isinstance(order, Finish):
                yield from self._finals(engine.finish())
                return
            if isinstance(order, Follow):
                lull = _lull(order.endpoint.silence_duration_ms)
            if order is not None:
                yield from self._done(order)
            asked_s = time.monotonic()
            yield None

    def _done(self, order: Order) -> Iterator[Item | None]:
        engine = self._engine
        match order:
            case Follow():
                yield from self._finals(engine.follow(order.endpoint))
            case Feed():
                yield from self._fed(order)
            case Hear():
                yield from self._heard(order)
            case EndTurn():
                yield from (told := self._finals(engine.pause()))
                if not told:
                    yield NothingOpen()
            case Clear():
                engine.abandon()
                yield Cleared()
            case Ask():
                yield from self._answered(order)

    def _fed(self, order: Feed) -> Iterator[Item | None]:
        engine = self._engine
        step = order.rate_hz // _PIECES_PER_S * 2
        for at in range(0, len(order.pcm), step):
            if at:
                yield None
            behind = self._inbox.sound_s > _BEHIND_S
            piece = order.pcm[at : at + step]
            # A piece that ends speech may be the one that is fed here.
            self._arrivals.note(engine.heard_s + len(piece) / (2 * order.rate_hz), order.came_s)
            yield from self._finals(engine.feed(piece, order.rate_hz, partials=not behind))

    def _finals(self, told: list[Told]) -> list[Told]:
        """`told`, whose final texts are counted by how late they are."""
        padding_s = self._engine.endpoint.suffix_padding_ms / 1000
        for item in told:
            if isinstance(item, Final):
                self._told(self._arrivals.since_s(item.end_s - padding_s))
        return told

    def _heard(self, order: Hear) -> Iterator[Item | None]:
        engine = self._engine
        start_s = engine.heard_s
        with order.file:
            try:
                yield from engine.hear(order.file, self._job.check)
            except InputError as error:
                yield Failed(str(error))
            else:
                self._told(time.monotonic() - order.came_s)
                yield Heard(engine.heard_s - start_s)

    def _answered(self, order: Ask) -> Iterator[Item]:
        if order.cancelled.is_set():
            yield Answered("", "cancelled", 0, 0)
            return
        try:
            yield from asked(order.request, self._engine, self._job, order.cancelled.is_set)
        except InputError as error:
            yield Unanswered(str(error))


def _lull(silence_duration_ms: int) -> Lull:
    return Lull(silence_duration_ms / 1000)
