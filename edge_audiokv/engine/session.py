"""A listening session: sound in, typed events out, for hours, inside one memory cap.

Threads: one thread at a time listens or feeds, and all callbacks run in it, or in the thread that
asks. `ask`, `memory`, `stop` and `close` may be called from any other thread, or from a callback;
they wait for the step in progress, a second at most on a slow machine. Different sessions share
nothing but the memory of the process: `mem` caps all of it, so a session that is loaded beside
others needs a cap that holds them, too; they stand in its sum by name. Those of one Room share its
model and its cap; they may work at the same time, each in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Self, Unpack

from edge_audiokv.audio.intake import Intake, Pcm, clean
from edge_audiokv.audio.live.lull import Lull
from edge_audiokv.audio.sound import Sound, as_source
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource
from edge_audiokv.engine.hearing import LIVE_STEP_SAMPLES, STEP_SAMPLES, Hearing
from edge_audiokv.engine.memory.session_memory import SessionCaches
from edge_audiokv.engine.recall.opening import recall_from
from edge_audiokv.engine.recognizer import Stopwatch
from edge_audiokv.engine.room import Place, Room
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.session_settings import SessionOptions, SessionSettings, with_options
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.events import (
    Answer,
    Event,
    Final,
    MemoryReport,
    Partial,
    SessionEnded,
    Warned,
)
from edge_audiokv.kv.memory import rss_bytes
from edge_audiokv.lifetime import Loadable
from edge_audiokv.models.download import Progress

__all__ = ["Session", "SessionSettings"]


class Session(Loadable):
    """Listens and remembers.

        with Session(mem="1GB", context="rolling") as session:
            for event in session.listen("talk.flac"):
                print(event)

    Settings come as records or, field by field, as keywords; those of a `room`, which several
    sessions share, come with it. `on_event` sees every event, also those of `ask`; `on_partial` and
    `on_final` see their kind; an error that a callback raises passes through to the caller. The
    constructor touches nothing; `load()` does the work; `close()` may be repeated.
    """

    def __init__(
        self,
        engine: EngineSettings | None = None,
        settings: SessionSettings | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_partial: Callable[[Partial], None] | None = None,
        on_final: Callable[[Final], None] | None = None,
        progress: Progress | None = None,
        room: Room | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        if room is not None and (engine or settings or progress or options):
            raise TypeError("a session of a room has the room's settings, and no others")
        if room is None:
            self.engine, self.settings = with_options(engine, settings, options)
            self._room = Room(self.engine, self.settings, progress=progress)
        else:
            self.engine, self.settings, self._room = room.engine, room.settings, room
        self._shares = room is not None
        self.on_event, self.on_partial, self.on_final = on_event, on_partial, on_final
        self.final_watch = Stopwatch()
        self.last_report: MemoryReport | None = None
        self._lock = threading.RLock()
        # Why to stop; a plain attribute, so that a signal handler needs no lock to set it.
        self._stop_reason: str | None = None
        self._intake = Intake()
        self._place: Place | None = None
        self._hearing: Hearing | None = None
        self._clock_s = 0.0
        self._n_segments = 0

    # --- life -------------------------------------------------------------------------------------

    def load(self) -> Self:
        """Load the model and allocate everything the session will ever need.

        Raises MemoryBudgetError with the sum and the smallest cap, ModelError, DownloadError or
        PolicyError. After `close()` it begins anew, with an empty memory.
        """
        with self._lock:
            if self._hearing is None:
                place = self._place = self._room.enter()
                self._intake = Intake()
                self._hearing = self._hear_anew(place)
        return self

    def _hear_anew(self, place: Place) -> Hearing:
        runtime, recording, recall = self.runtime, place.recording, None
        if recording is not None and self.settings.recall and runtime.template.asking:
            recall = recall_from(recording, runtime)
        told = self.settings, self.memory
        return Hearing(runtime, place.caches, place.detector, *told, recording, recall)

    def close(self) -> None:
        """Give everything back, once the step in progress is over. Safe from other threads."""
        self.stop("closed")
        with self._lock:
            hearing, self._hearing = self._hearing, None
            if hearing is not None:
                self._clock_s, self._n_segments = hearing.clock_s, hearing.n_segments
                self.final_watch = hearing.recognizer.watch
            place, self._place = self._place, None
            if self._shares and place is not None:
                self._room.leave(place)
            elif not self._shares:
                self._room.close()

    def forget(self) -> None:
        """Begin anew, as after `load()`, without loading: an empty memory, the clock at 0."""
        with self._lock:
            self.load()
            if self._place is not None:
                self._place.clear()
                self._intake = Intake()
                self._hearing = self._hear_anew(self._place)

    async def __aenter__(self) -> Self:
        from asyncio import to_thread  # whoever awaits has it; others save its 5 MB

        return await to_thread(self.load)

    async def __aexit__(self, *_: object) -> None:
        from asyncio import to_thread

        await to_thread(self.close)

    # --- what it knows ----------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """The model that it works with, and the ledger of its memory."""
        return self._room.runtime

    @property
    def clock_s(self) -> float:
        """Seconds of sound heard so far; after `close()`, until then."""
        hearing = self._hearing
        return hearing.clock_s if hearing is not None else self._clock_s

    @property
    def watch(self) -> Stopwatch:
        """Times and counts of recognition since `load()`."""
        return self._loaded().recognizer.watch

    @property
    def caches(self) -> SessionCaches:
        """The scratch cache of single segments and the memory of the session."""
        return self._loaded().caches

    def memory(self) -> MemoryReport:
        """Where the bytes are now, beside the kernel's own figure."""
        with self._lock:
            self.load()
            ledger = self.runtime.ledger
            self.last_report = MemoryReport(
                self.clock_s, ledger.cap_bytes, rss_bytes(), ledger.parts()
            )
            return self.last_report

    def _loaded(self) -> Hearing:
        self.load()
        if self._hearing is None:
            raise RuntimeError("load() left nothing")
        return self._hearing

    # --- sound in, events out ---------------------------------------------------------------------

    def listen(self, source: Sound | None = None) -> Iterator[Event]:
        """Events of a file or source until it ends or `stop()`; without one, of the microphone.

        `source` is a path, an open file that can seek, sound at 16 kHz in the forms that `feed`
        takes, or any AudioSource, which is opened and closed; the last event is SessionEnded. If
        the source fails, what was open is still told, then its error is raised.
        Leaving the loop early, and `close()`, forget the open segment. Raises InputError if the
        file cannot be read, MissingExtraError or DeviceError if there is no microphone.
        """
        for event in self.pulses(source):
            if event is not None:
                yield event

    def alisten(self, source: Sound | None = None) -> AsyncIterator[Event]:
        """`listen` for `async for`: the work is done in a thread, and callbacks run there.

        At most 64 events wait for a slow consumer. Cancelling, or leaving the loop and closing the
        iterator, closes the source and ends the thread before it returns.
        """
        from edge_audiokv.engine.streaming import in_thread

        return in_thread(lambda: self.pulses(source))

    def stop(self, reason: str = "stopped") -> None:
        """Let `listen` end after its current step; safe from signal handlers and other threads."""
        self._stop_reason = reason

    def feed(self, pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ, *, live: bool = True) -> list[Event]:
        """Take the next sound; the events that follow from it.

        `pcm` is float32 in [-1, 1], int16 or int32, [S] or [S, C], or bytes of 16-bit mono, cut
        anywhere. `live` asks for partials. NaN and Inf become silence. Raises InputError for
        anything else, and if the rate changes before `finish()`.
        """
        with self._lock:
            hearing = self._loaded()
            return self._tell_all(hearing, self._take(hearing, pcm, rate_hz, live))

    def pause(self) -> list[Event]:
        """Who feeds live sound has gone quiet: the final text of what is open, as `listen` tells it
        when a live source sends nothing. The clock stands still, and feeding may go on.
        """
        with self._lock:
            hearing = self._loaded()
            return self._tell_all(hearing, hearing.pause())

    def abandon(self) -> None:
        """Forget the open segment, of which no final text is told."""
        with self._lock:
            if self._hearing is not None:
                self._hearing.abandon()

    def adjust(self, settings: SessionSettings) -> None:
        """From now on cut speech and tell partials as `settings` say, until `forget()`; its other
        fields are not looked at. Ids, times and the memory go on.

        Raises InputError while a segment is open (`finish()` ends it), and for a longer
        `max_segment_s` than that of the session, which its buffers are made for.
        """
        with self._lock:
            self._loaded().adjust(settings)

    def pace(self, partial_interval_s: float) -> None:
        """From now on tell partials so often (0: none), also of what is open, until `forget()`."""
        with self._lock:
            self._loaded().pace(partial_interval_s)

    def _take(self, hearing: Hearing, pcm: Pcm, rate_hz: int, live: bool) -> Iterator[Event]:
        for samples in self._intake.pieces(pcm, rate_hz):
            for text in self._intake.complaints():
                yield Warned(hearing.clock_s, text)
            yield from hearing.take(samples, live=live)

    def finish(self, reason: str = "finished") -> list[Event]:
        """The sound is over: final text of what is open, then SessionEnded.

        Feeding may go on afterwards: ids, times and the memory continue.
        """
        with self._lock:
            hearing = self._loaded()
            lost = [Warned(hearing.clock_s, text) for text in self._intake.leftover()]
            rest = chain(lost, hearing.take(self._intake.flush(), live=False), hearing.flush())
            events = self._tell_all(hearing, rest)
            if self._hearing is not None:
                self.memory()
            return [*events, self._tell(SessionEnded(self.clock_s, hearing.n_segments, reason))]

    def ask(self, question: str, *, on_text: Callable[[str], None] | None = None) -> Answer:
        """Answer a question about what was heard. The memory stays as it was.

        `on_text` sees the answer grow.

        Before any words were heard the answer says so (`heard` is false), and no model is asked.
        Raises InputError if the question is empty or too long, ModelError if the model only
        transcribes.
        """
        with self._lock:
            answer = self._loaded().ask(question, on_text=on_text)
            self._tell(answer)
            return answer

    async def aask(self, question: str) -> Answer:
        """`ask` in a thread."""
        from asyncio import to_thread

        return await to_thread(self.ask, question)

    # --- steps ------------------------------------------------------------------------------------

    def pulses(self, source: Sound | None = None) -> Generator[Event | None]:
        """`listen`, and None after each step, so that its thread may do something else.

        The lock is free between two events: that is when questions are answered.
        """
        self.load()
        self._stop_reason = None
        opened = _microphone() if source is None else as_source(source)
        heard_out = False
        try:
            with opened:
                if self._place is not None and self._place.recording is not None:
                    self._place.recording.begin(opened.describe())
                yield from self._hear(opened)
            heard_out = True
        finally:
            if not heard_out:
                self.abandon()
        yield from self._end(self._stopped() or "end of the source")

    def _hear(self, source: AudioSource) -> Iterator[Event | None]:
        step = LIVE_STEP_SAMPLES if source.realtime else STEP_SAMPLES
        lull = Lull(self._loaded().settings.endpoint.silence_duration_ms / 1000)
        asked_s = time.monotonic()
        while self._stopped() is None:
            try:
                samples = source.read(step)
            except EdgeAudioKVError as error:
                yield from self._end(error.what)
                raise
            for event in source.take_events():
                yield self._tell(event.at(self.clock_s))
            if samples is None:
                break
            with self._lock:
                if self._hearing is None:
                    break
                if lull.heard(len(samples), time.monotonic() - asked_s):
                    events = self._hearing.pause()
                else:
                    events = self._hearing.take(clean(samples), live=source.realtime)
            while (heard := self._next(events)) is not None:
                yield heard
            asked_s = time.monotonic()
            yield None

    def _stopped(self) -> str | None:
        return self._stop_reason

    def _next(self, events: Iterator[Event]) -> Event | None:
        """One event's work, told; None at the end, or if the session was closed meanwhile."""
        with self._lock:
            event = next(events, None) if self._hearing is not None else None
            return self._tell(event) if event is not None else None

    def _end(self, reason: str) -> list[Event]:
        with self._lock:
            if self._hearing is not None:
                return self.finish(reason)
            return [self._tell(SessionEnded(self._clock_s, self._n_segments, reason))]

    def _tell_all(self, hearing: Hearing, events: Iterable[Event]) -> list[Event]:
        told = []
        for event in events:
            told.append(self._tell(event))
            # A callback may have closed the session: what is left of the work has no cache.
            if self._hearing is not hearing:
                break
        return told

    def _tell(self, event: Event) -> Event:
        if self.on_event is not None:
            self.on_event(event)
        if self.on_partial is not None and isinstance(event, Partial):
            self.on_partial(event)
        if self.on_final is not None and isinstance(event, Final):
            self.on_final(event)
        return event


def _microphone() -> AudioSource:
    # Imported when it is wanted: the rest works without PortAudio.
    from edge_audiokv.audio.live.microphone import MicrophoneSource

    return MicrophoneSource()
