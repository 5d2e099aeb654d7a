"""What a job asks of a model, and the session that does it.

A job hears its sound, may ask about it, and is forgotten: no client can ask about another's. What
the machine's own microphone hears belongs to all who may listen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from typing import BinaryIO, Protocol

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.live.monitor import MonitoredSource
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.engine.decoding.decode import text_of
from edge_audiokv.engine.facts import model_facts
from edge_audiokv.engine.finals.language import check_language
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.errors import InputError, UnfitModelError
from edge_audiokv.events import (
    Answer,
    Event,
    Evicted,
    Final,
    MemoryReport,
    Partial,
    SpeechStarted,
    Warned,
)
from edge_audiokv.kv.memory import rss_bytes
from edge_audiokv.kv.shape import IntArray
from edge_audiokv.kv.view import Kind


@dataclass(frozen=True)
class Work:
    """What jobs have cost so far; `flagged` are texts that a guard cut or tried again."""

    audio_s: float = 0.0
    compute_s: float = 0.0
    audio_tokens: int = 0
    text_tokens: int = 0
    flagged: int = 0
    evictions: int = 0
    evicted_rows: int = 0
    evicted_bytes: int = 0
    shifts: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Heads:
    """Rows of each KV head of the memory, int32 [L, H]: of sound, of text that was written, of the
    rest (template, questions, first tokens), and as many as it has room for.
    """

    audio: IntArray
    text: IntArray
    other: IntArray
    capacity: IntArray


# What a live session tells.
Told = SpeechStarted | Partial | Final | Warned
_PARTIAL_INTERVAL_S = 1.0


class Engine(Protocol):
    """One session of the model, which a job has to itself. What makes steps is a generator, so that
    other sessions may have theirs in between.

    One thread at a time calls, though not always the same; `check_language`, `heads`, `heard_s`,
    `report` and `work` may come from another meanwhile. `facts` are what results for machines say
    of the model; `heads` is what the memory held after the last step.
    """

    name: str
    languages: tuple[str, ...]
    facts: dict[str, str | None]
    heads: Heads | None
    # How speech is cut unless a live client says otherwise.
    endpoint: EndpointConfig

    def check_language(self, language: str) -> None:
        """UnfitModelError for a language that the model does not know."""

    def hear(self, file: BinaryIO, check: Callable[[], None]) -> Iterator[Final | Warned | None]:
        """What is said in a sound file, in order, and None after about a second of sound. `check`
        is called as often and ends the work by raising. `heard_s` grows. Raises InputError.
        """

    def follow(self, endpoint: EndpointConfig) -> list[Told]:
        """Sound will come through `feed` and is cut like this. What was open ends; its text."""

    def share(self, n_live: int, *, others_wait: bool = False) -> None:
        """So many live sessions take turns from now on: texts that may change come less often, and
        not at all while `others_wait` for theirs. Told before each step of a live job.
        """

    def feed(self, pcm: bytes, rate_hz: int, *, partials: bool) -> list[Told]:
        """Live sound, 16-bit mono, cut anywhere. `partials` asks for texts that may change."""

    def pause(self) -> list[Told]:
        """No more sound comes for now: the final text of what is open."""

    def finish(self) -> list[Told]:
        """The sound is over: the final text of what is open."""

    def abandon(self) -> None:
        """Forget the open speech, untold."""

    def ask(self, question: str, on_text: Callable[[str], None]) -> str:
        """Answer from what this job has heard. `on_text` sees the answer after each token, and may
        end it by raising.
        """

    def listen(
        self,
        source: AudioSource,
        on_event: Callable[[Event], None],
        between: Callable[[Samples], None],
    ) -> Iterator[None]:
        """Hear a live source until it ends, step by step. `on_event` sees all that `Session.listen`
        tells; `between` is called with each block of sound, may call `answer`, and ends the work by
        raising.
        """

    def answer(self, question: str) -> Answer:
        """Answer from what `listen` has heard so far. Raises InputError."""

    def end(self, reason: str) -> None:
        """Why `listen` ends, where that is not the end of its source."""

    @property
    def heard_s(self) -> float:
        """Seconds of sound that this job has heard."""

    def n_prompt_tokens(self, question: str) -> int:
        """Tokens of the sound that this job has heard, and of a question about it."""

    def n_tokens(self, text: str) -> int: ...

    def first_tokens(self, text: str, n_tokens: int) -> str:
        """`text` up to its token `n_tokens`."""

    def forget(self) -> None:
        """The job is over: nothing of it stays."""

    def report(self) -> MemoryReport: ...

    @property
    def work(self) -> Work: ...


class SessionEngine:
    """A `Session` as an engine; `Engines` loads and closes it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.endpoint = session.settings.endpoint
        self._settings = session.settings
        self.name = session.engine.model
        self.languages: tuple[str, ...] = ()
        self.facts: dict[str, str | None] = {}
        self.heads: Heads | None = None
        self._seen = (-1, -1)
        # Between texts of a live job that may change; 0 for none.
        self._interval_s = _PARTIAL_INTERVAL_S
        # Of the jobs that are over, and of the one at work: replaced together.
        self._work = Work(), Work()

    def load(self) -> None:
        self.session.load()
        entry = self.session.runtime.local.entry
        self.name, self.languages = entry.name, entry.languages
        self.facts = model_facts(self.session.runtime)
        self._look()

    def check_language(self, language: str) -> None:
        check_language(language, self.session.runtime.local.entry)

    @property
    def heard_s(self) -> float:
        return self.session.clock_s

    def hear(self, file: BinaryIO, check: Callable[[], None]) -> Iterator[Final | Warned | None]:
        session = self.session
        # Each clip has times of its own; a session's clock runs on.
        start_s = session.clock_s
        with FileSource(file, name="the audio") as source:
            while (samples := source.read(SAMPLE_RATE_HZ)) is not None:
                check()
                yield from self._told(session.feed(samples, live=False), start_s)
                yield from self._told(source.take_events(), start_s)
                yield None
            check()
            yield from self._told(source.take_events(), start_s)
            yield from self._told(session.finish(), start_s)

    def follow(self, endpoint: EndpointConfig) -> list[Told]:
        told = self.finish()
        self.session.adjust(
            replace(self._settings, partial_interval_s=self._interval_s, endpoint=endpoint)
        )
        return told

    def share(self, n_live: int, *, others_wait: bool = False) -> None:
        interval_s = 0.0 if others_wait else _PARTIAL_INTERVAL_S * n_live
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self.session.pace(interval_s)

    def feed(self, pcm: bytes, rate_hz: int, *, partials: bool) -> list[Told]:
        return list(self._live(self.session.feed(pcm, rate_hz, live=partials)))

    def pause(self) -> list[Told]:
        return list(self._live(self.session.pause()))

    def finish(self) -> list[Told]:
        return list(self._live(self.session.finish()))

    def abandon(self) -> None:
        self.session.abandon()
        self._look()

    def _told(self, events: list[Event], start_s: float) -> Iterator[Final | Warned]:
        for event in self._live(events):
            if isinstance(event, Final):
                yield event.moved(event.id, -start_s)
            elif isinstance(event, Warned):
                yield event

    def _live(self, events: list[Event]) -> Iterator[Told]:
        for event in events:
            if isinstance(event, SpeechStarted | Partial | Final | Warned):
                yield event
            self._count(event)
        self._look()

    def _look(self) -> None:
        """Publish what this job has cost, and what the heads hold if that has changed: about once
        a segment.
        """
        session, (done, now) = self.session, self._work
        watch, cache = session.watch, session.caches.memory
        self._work = (
            replace(done, shifts=cache.stats.shifts),
            replace(
                now,
                audio_s=session.clock_s,
                compute_s=watch.total_s,
                audio_tokens=watch.audio_tokens,
                text_tokens=watch.text_tokens,
            ),
        )
        seen = cache.controller.now, int(cache.context.counts.sum())
        if seen != self._seen:
            rows = cache.controller.rows_of(cache.context)
            self.heads = Heads(
                audio=rows[Kind.AUDIO],
                text=rows[Kind.TEXT],
                other=rows[Kind.PROMPT] + rows[Kind.SINK],
                capacity=cache.context.capacity,
            )
            self._seen = seen

    def _count(self, event: Event) -> None:
        done, now = self._work
        if isinstance(event, Evicted):
            now += Work(evictions=1, evicted_rows=event.freed_rows, evicted_bytes=event.freed_bytes)
        elif isinstance(event, Final) and event.flags:
            now += Work(flagged=1)
        self._work = done, now

    def listen(
        self,
        source: AudioSource,
        on_event: Callable[[Event], None],
        between: Callable[[Samples], None],
    ) -> Iterator[None]:
        session, before = self.session, self.session.settings
        # As the command `listen` does: with partials and memory reports.
        session.settings = SessionSettings(
            endpoint=before.endpoint, partial_interval_s=self._interval_s
        )
        session.forget()
        session.on_event = on_event

        def look(samples: Samples) -> None:
            # A text is told before it is remembered, and nothing may be told after that.
            self._look()
            between(samples)

        try:
            with closing(session.pulses(MonitoredSource(source, look))) as events:
                for event in events:
                    if event is None:
                        yield None
                    else:
                        self._count(event)
        finally:
            session.on_event, session.settings = None, before

    def answer(self, question: str) -> Answer:
        answer = self.session.ask(question)
        self._look()
        return answer

    def end(self, reason: str) -> None:
        self.session.stop(reason)

    def ask(self, question: str, on_text: Callable[[str], None]) -> str:
        answer = self.session.ask(question, on_text=on_text)
        self._look()
        return answer.text

    def n_prompt_tokens(self, question: str) -> int:
        asked = self.n_tokens(question) if question else 0
        return self.session.watch.audio_tokens + asked

    def n_tokens(self, text: str) -> int:
        return len(self.session.runtime.model.tokenize(text, special=False))

    def first_tokens(self, text: str, n_tokens: int) -> str:
        model = self.session.runtime.model
        return text_of(model, model.tokenize(text, special=False)[:n_tokens]).rstrip("\ufffd")

    def forget(self) -> None:
        self._look()
        done, now = self._work
        self._work = done + now, Work()
        self._interval_s = _PARTIAL_INTERVAL_S
        self.session.forget()
        self._look()

    def report(self) -> MemoryReport:
        session = self.session
        ledger = session.runtime.ledger
        return MemoryReport(session.clock_s, ledger.cap_bytes, rss_bytes(), ledger.parts())

    @property
    def work(self) -> Work:
        done, now = self._work
        return done + now


def known_language(engine: Engine, language: str) -> str:
    """Why the model does not know a language; empty if it does."""
    try:
        engine.check_language(language)
    except (InputError, UnfitModelError) as error:  # an empty one, too
        return str(error)
    return ""
