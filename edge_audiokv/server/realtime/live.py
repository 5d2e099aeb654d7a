"""The job of a live client: its orders, one after another, until it has no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edge_audiokv.audio.live.lull import Lull
from edge_audiokv.errors import InputError
from edge_audiokv.server.chat import asked
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.jobs import (
    Answered,
    Cleared,
    Failed,
    Heard,
    Item,
    Job,
    NothingOpen,
    Unanswered,
)
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

# How late a client's leaving, or its silence, is noticed.
_TICK_S = 0.1
# Of what is fed at once; so long it takes until a client that left is noticed.
_PIECES_PER_S = 10
# With more sound waiting there is no time for texts that may change.
_BEHIND_S = 2.0


def steps(inbox: Inbox) -> Callable[[Engine, Job], Iterator[Item]]:
    """The job: what `inbox` says."""

    def work(engine: Engine, job: Job) -> Iterator[Item]:
        lull = _lull(engine.endpoint.silence_duration_ms)
        while True:
            asked_s = time.monotonic()
            order = inbox.get(_TICK_S)
            waited_s = time.monotonic() - asked_s
            job.idle_s += waited_s
            job.check()
            # Who sends nothing at all in the middle of a sentence has ended it.
            if lull.heard(len(order.pcm) if isinstance(order, Feed) else 0, waited_s):
                yield from engine.pause()
            if isinstance(order, Finish):
                yield from engine.finish()
                return
            if isinstance(order, Follow):
                lull = _lull(order.endpoint.silence_duration_ms)
            if order is not None:
                yield from _done(order, engine, job, inbox)

    return work


def _lull(silence_duration_ms: int) -> Lull:
    return Lull(silence_duration_ms / 1000)


def _done(order: Order, engine: Engine, job: Job, inbox: Inbox) -> Iterator[Item]:
    match order:
        case Follow():
            yield from engine.follow(order.endpoint)
        case Feed():
            step = order.rate_hz // _PIECES_PER_S * 2
            for at in range(0, len(order.pcm), step):
                job.check()
                behind = inbox.sound_s > _BEHIND_S
                piece = order.pcm[at : at + step]
                yield from engine.feed(piece, order.rate_hz, partials=not behind)
        case Hear():
            yield from _heard(order, engine, job)
        case EndTurn():
            yield from (told := engine.pause())
            if not told:
                yield NothingOpen()
        case Clear():
            engine.abandon()
            yield Cleared()
        case Ask():
            yield from _answered(order, engine, job)


def _heard(order: Hear, engine: Engine, job: Job) -> Iterator[Item]:
    start_s = engine.heard_s
    with order.file:
        try:
            yield from engine.hear(order.file, job.check)
        except InputError as error:
            yield Failed(str(error))
        else:
            yield Heard(engine.heard_s - start_s)


def _answered(order: Ask, engine: Engine, job: Job) -> Iterator[Item]:
    if order.cancelled.is_set():
        yield Answered("", "cancelled", 0, 0)
        return
    try:
        yield from asked(order.request, engine, job, order.cancelled.is_set)
    except InputError as error:
        yield Unanswered(str(error))
