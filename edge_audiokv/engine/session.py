"""A listening session: sound in, typed events out, for hours, inside one memory cap.

Threads: a session belongs to one thread at a time. `ask` and `memory` may be called from another;
they wait for the step in progress. Events come from the thread that feeds or listens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from edge_audiokv.audio.endpoint import Ended, EndpointConfig, Endpointer, Segment
from edge_audiokv.audio.level import Health
from edge_audiokv.audio.resample import StreamResampler
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource
from edge_audiokv.audio.vad import VoiceDetector
from edge_audiokv.engine.recognizer import Heard, Recognizer, Stopwatch
from edge_audiokv.engine.rolling import RollingMemory
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.segmenter import Drafter, stable_prefix
from edge_audiokv.engine.session_memory import SessionCaches, open_session_caches
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError
from edge_audiokv.events import (
    Answer,
    Event,
    Evicted,
    Final,
    MemoryReport,
    Partial,
    SessionEnded,
    SpeechStarted,
)
from edge_audiokv.kv.memory import rss_bytes
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.models.download import Progress

# One step of work: events are at most this late for reasons of batching.
_STEP_SAMPLES = SAMPLE_RATE_HZ // 10


@dataclass(frozen=True)
class SessionSettings:
    """How a session listens, beside the engine's settings.

    context             "fresh" decodes each segment on its own; "rolling" with all before in view.
                        Both remember everything for questions.
    partial_interval_s  new sound before the open segment is decoded again; 0 for no partials
    hotword             a segment that begins with this word is a question
    report_interval_s   time between memory reports; 0 for none
    endpoint            how speech is cut
    """

    context: str = "fresh"
    partial_interval_s: float = 1.0
    hotword: str = ""
    report_interval_s: float = 10.0
    endpoint: EndpointConfig = field(default_factory=lambda: EndpointConfig(max_segment_s=15.0))

    def __post_init__(self) -> None:
        if self.context not in ("fresh", "rolling"):
            raise InputError(f"there is no context {self.context!r}.", cure="Use fresh or rolling.")


class Session:
    """Listens and remembers.

        with Session(EngineSettings(mem="1GB")) as session:
            for event in session.listen(FileSource("talk.flac")):
                print(event)

    `on_event` sees every event too. The constructor touches nothing; `load()` does the work;
    `close()` may be repeated.
    """

    def __init__(
        self,
        engine: EngineSettings | None = None,
        settings: SessionSettings | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.engine = engine or EngineSettings()
        self.settings = settings or SessionSettings()
        self.runtime = Runtime(
            self.engine, max_window_s=self.settings.endpoint.max_segment_s, progress=progress
        )
        self._on_event = on_event
        self._lock = threading.RLock()
        self._detector = VoiceDetector()
        self._endpointer = Endpointer(self._detector, self.settings.endpoint)
        self._caches: SessionCaches | None = None
        self._resampler: StreamResampler | None = None
        self._rate_hz = SAMPLE_RATE_HZ
        self._health = Health()
        self._n_samples = 0
        self._n_segments = 0
        self._reported_s = 0.0
        self._seen_evictions = 0

    # --- life -------------------------------------------------------------------------------------

    def load(self) -> Self:
        """Load the model and allocate everything the session will ever need.

        Raises MemoryBudgetError with the sum and the smallest cap, ModelError, DownloadError or
        PolicyError.
        """
        if self._caches is not None:
            return self
        self.runtime.load()
        try:
            self._detector.load()
            self.runtime.ledger.add(
                "audio", lambda: self._detector.nbytes + self._endpointer.nbytes
            )
            caches = open_session_caches(self.runtime, self.settings.endpoint.max_segment_s)
        except BaseException:
            self.close()
            raise
        self._recognizer = Recognizer(self.runtime, caches.scratch)
        self._memory = RollingMemory(
            self.runtime, caches.memory, max_turn_tokens=caches.max_turn_tokens
        )
        self._drafter = Drafter(
            self._recognizer, interval_s=self.settings.partial_interval_s or float("inf")
        )
        self._caches = caches
        return self

    def close(self) -> None:
        """Give everything back."""
        if self._caches is not None:
            self._caches.close()
        self._caches = None
        self._detector.close()
        self.runtime.close()

    def __enter__(self) -> Self:
        return self.load()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- what it knows ----------------------------------------------------------------------------

    @property
    def clock_s(self) -> float:
        """Seconds of sound heard so far."""
        return self._n_samples / SAMPLE_RATE_HZ

    @property
    def watch(self) -> Stopwatch:
        """Times and counts of recognition since `load()`."""
        self.load()
        return self._recognizer.watch

    @property
    def caches(self) -> SessionCaches:
        """The scratch cache of single segments and the memory of the session."""
        self.load()
        if self._caches is None:
            raise RuntimeError("load() left no caches")
        return self._caches

    def memory(self) -> MemoryReport:
        """Where the bytes are now, beside the kernel's own figure."""
        with self._lock:
            self.load()
            ledger = self.runtime.ledger
            return MemoryReport(self.clock_s, ledger.cap_bytes, rss_bytes(), ledger.parts())

    # --- sound in, events out ---------------------------------------------------------------------

    def listen(self, source: AudioSource) -> Iterator[Event]:
        """Events of a source until it ends; opens and closes it.

        The last event is SessionEnded. Leaving the loop early ends the open segment unheard.
        """
        self.load()
        reason = "end of the source"
        with source:
            while (samples := source.read(_STEP_SAMPLES)) is not None:
                for event in source.take_events():
                    yield self._tell(event)
                if len(samples):
                    yield from self.feed(samples, SAMPLE_RATE_HZ, live=source.realtime)
            for event in source.take_events():
                yield self._tell(event)
        yield from self.finish(reason)

    def feed(
        self, samples: FloatArray, rate_hz: int = SAMPLE_RATE_HZ, *, live: bool = True
    ) -> Iterator[Event]:
        """Take mono samples in [-1, 1]; the events that follow. Iterate it to the end.

        `live` asks for partials. NaN and Inf become silence. The rate stays the same in a session.
        """
        self.load()
        clean = self._health.check(samples)
        if rate_hz != self._rate_hz or self._resampler is not None:
            clean = self._resampled(clean, rate_hz)
        for start in range(0, len(clean), _STEP_SAMPLES):
            with self._lock:
                events = list(self._step(clean[start : start + _STEP_SAMPLES], live))
            yield from events

    def finish(self, reason: str = "finished") -> Iterator[Event]:
        """The sound is over: final text of what is open, then SessionEnded."""
        self.load()
        with self._lock:
            events: list[Event] = []
            for news in self._endpointer.flush():
                if isinstance(news, Ended):
                    events += self._end_segment(news.segment)
                else:
                    events.append(self._start_segment(news.id, news.start_sample))
            events.append(self._tell(SessionEnded(self.clock_s, self._n_segments, reason)))
        yield from events

    def ask(self, question: str) -> Answer:
        """Answer a question about what was heard. The memory stays as it was.

        Raises InputError if the question is empty or too long.
        """
        if not question.strip():
            raise InputError("the question is empty.", cure="Ask something.")
        with self._lock:
            self.load()
            decoded = self._memory.ask(question.strip())
            answer = Answer(question.strip(), decoded.text, self.clock_s)
            self._tell(answer)
            return answer

    # --- steps ------------------------------------------------------------------------------------

    def _resampled(self, samples: FloatArray, rate_hz: int) -> FloatArray:
        if self._resampler is None:
            self._resampler, self._rate_hz = StreamResampler(rate_hz), rate_hz
        if rate_hz != self._rate_hz:
            raise InputError(
                f"the rate changed from {self._rate_hz} to {rate_hz} Hz.",
                cure="Feed one rate for the whole session.",
            )
        return self._resampler.push(samples)

    def _step(self, samples: FloatArray, live: bool) -> Iterator[Event]:
        self._n_samples += len(samples)
        for news in self._endpointer.push(samples):
            if isinstance(news, Ended):
                yield from self._end_segment(news.segment)
            else:
                yield self._start_segment(news.id, news.start_sample)
        partial = self._partial(live)
        if partial is not None:
            yield partial
        every_s = self.settings.report_interval_s
        if every_s and self.clock_s - self._reported_s >= every_s:
            self._reported_s = self.clock_s
            yield self._tell(self.memory())

    def _start_segment(self, id: int, start_sample: int) -> Event:
        self._drafter.reset()
        return self._tell(SpeechStarted(id, start_sample / SAMPLE_RATE_HZ))

    def _partial(self, live: bool) -> Event | None:
        if not live:
            return None
        before = self._drafter.draft.text if self._drafter.draft else ""
        draft = self._drafter.look(self._endpointer, partials=self.settings.partial_interval_s > 0)
        if draft is None:
            return None
        text = draft.text
        return self._tell(
            Partial(
                draft.id,
                draft.start_sample / SAMPLE_RATE_HZ,
                draft.end_sample / SAMPLE_RATE_HZ,
                text,
                stable_prefix(before, text),
            )
        )

    def _end_segment(self, segment: Segment) -> Iterator[Event]:
        heard, flags, listened = self._final(segment)
        self._n_segments += 1
        text = heard.decoded.text
        yield self._tell(Final(segment.id, segment.start_s, segment.end_s, text, flags))
        # Remembering comes after telling: nobody waits for it.
        self._memory.commit(heard.embeddings, heard.decoded, listened=listened)
        yield from self._evictions()
        question = self._question_in(text)
        if question:
            yield self.ask(question)

    def _final(self, segment: Segment) -> tuple[Heard, tuple[str, ...], bool]:
        """What was said, what the guards did, and whether the memory has it already."""
        if self.settings.context == "fresh":
            heard = self._drafter.final(segment)
            flags = heard.decoded.flags
            return heard, (*flags, "cut") if flags else (), False
        embeddings = self._recognizer.encode(segment.samples)
        decoded = self._memory.transcribe(embeddings, segment.end_s - segment.start_s)
        if not decoded.flags:
            return Heard(decoded, embeddings), (), True
        # The context may be what misleads: once more without it.
        retried = self._recognizer.recognize(segment.samples)
        flags = (*decoded.flags, "retried", *(("cut",) if retried.decoded.flags else ()))
        return retried, flags, False

    def _evictions(self) -> Iterator[Event]:
        stats = self.caches.memory.stats
        if stats.freed_rows > self._seen_evictions:
            freed = stats.freed_rows - self._seen_evictions
            self._seen_evictions = stats.freed_rows
            cache = self.caches.memory.context
            yield self._tell(
                Evicted(self.clock_s, freed, freed * cache.shape.row_bytes, int(cache.counts.sum()))
            )

    def _question_in(self, text: str) -> str:
        hotword = self.settings.hotword.lower().strip()
        words = text.lower().replace(",", " ").split()
        spoken = hotword.split()
        if not hotword or words[: len(spoken)] != spoken:
            return ""
        return " ".join(text.split()[len(spoken) :])

    def _tell(self, event: Event) -> Event:
        if self._on_event is not None:
            self._on_event(event)
        return event
