"""What a session does with sound: cut it, draft it, decode it, remember it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_audiokv.audio.endpoint import Ended, Endpointer, Segment, Started
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.audio.vad import VoiceDetector
from edge_audiokv.engine.decoding.mending import JUMP
from edge_audiokv.engine.finals.finals import Finals
from edge_audiokv.engine.memory.heap import trim_heap
from edge_audiokv.engine.memory.rolling import MAX_REMINDER_TOKENS, RollingMemory
from edge_audiokv.engine.memory.session_memory import SessionCaches
from edge_audiokv.engine.recall.answering import Answering
from edge_audiokv.engine.recognizer import Heard, Recognizer
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.segmenter import Drafter, stable_prefix
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.errors import InputError, UnfitModelError
from edge_audiokv.events import (
    Answer,
    Event,
    Evicted,
    Final,
    Partial,
    SpeechStarted,
    Warned,
)

if TYPE_CHECKING:
    from edge_audiokv.archive.recording import Recording
    from edge_audiokv.engine.recall.recall import Recall

# One step of work: events are at most this late for reasons of batching.
LIVE_STEP_SAMPLES = SAMPLE_RATE_HZ // 10
STEP_SAMPLES = SAMPLE_RATE_HZ
# What is answered before there are any words to answer from.
NOTHING_HEARD = "No words were heard."


class Hearing:
    """Samples in, events out, lazily: the work behind an event is done when it is asked for.

    `report` is called every `report_interval_s` of sound for an event of the owner's; `recording`
    keeps the finals, and `recall` finds them again for a question.
    """

    def __init__(
        self,
        runtime: Runtime,
        caches: SessionCaches,
        detector: VoiceDetector,
        settings: SessionSettings,
        report: Callable[[], Event],
        recording: Recording | None = None,
        recall: Recall | None = None,
    ) -> None:
        self.settings = settings
        self.recording = recording
        self.caches = caches
        self.recognizer = Recognizer(runtime, caches.scratch)
        self.memory = RollingMemory(
            runtime,
            caches.memory,
            max_turn_tokens=caches.max_turn_tokens,
            placement=settings.placement,
            reminder_tokens=MAX_REMINDER_TOKENS if recall is not None else 0,
        )
        self._answering = Answering(self.memory, self.recognizer, recall)
        self.endpointer = Endpointer(detector, settings.endpoint)
        self.n_samples = 0
        self.n_segments = 0
        self._drafter = Drafter(
            self.recognizer, interval_s=settings.partial_interval_s or float("inf")
        )
        self._finals = Finals(runtime, self.recognizer)
        self._report = report
        # Told, but not in the memory yet: that work comes after everybody knows the text.
        self._told: tuple[Heard, bool, float] | None = None
        # When the turns began that the memory has rows of.
        self._held_s: deque[float] = deque()
        self._partial_end_s = 0.0
        self._reported_s = 0.0
        self._seen_evictions = 0

    @property
    def nbytes(self) -> int:
        """Sound that is held for the open segment."""
        return self.endpointer.nbytes

    @property
    def clock_s(self) -> float:
        """Seconds of sound heard so far."""
        return self.n_samples / SAMPLE_RATE_HZ

    def take(self, samples: Samples, *, live: bool) -> Iterator[Event]:
        """Hear float32 [S]; `live` asks for partials."""
        step = LIVE_STEP_SAMPLES if live else STEP_SAMPLES
        for start in range(0, len(samples), step):
            yield from self._step(samples[start : start + step], live)

    def flush(self) -> Iterator[Event]:
        """The sound is over: what is open ends here."""
        yield from self._news(self.endpointer.flush())
        yield from self._catch_up()

    def pause(self) -> Iterator[Event]:
        """A live source has gone quiet: what is open ends here, and the clock stands still."""
        yield from self._news([*self.endpointer.pause()])
        yield from self._catch_up()

    def abandon(self) -> None:
        """The open segment will never end: forget it, so that the next sound starts afresh."""
        self._remember()
        self.endpointer.flush()

    def adjust(self, settings: SessionSettings) -> None:
        """Cut and draft as `settings` say. Raises InputError; see `Session.adjust`."""
        if self.endpointer.open_segment is not None:
            raise InputError("Speech is open.", cure="End it first: call finish().")
        try:
            self.endpointer.adjust(settings.endpoint)
        except ValueError as error:
            raise InputError(f"{error}.", cure="Give the session a longer one.") from None
        self.settings = replace(self.settings, endpoint=settings.endpoint)
        self.pace(settings.partial_interval_s)

    def pace(self, partial_interval_s: float) -> None:
        """Draft so often; see `Session.pace`."""
        self.settings = replace(self.settings, partial_interval_s=partial_interval_s)
        self._drafter.interval_s = partial_interval_s or float("inf")

    def ask(self, question: str, *, on_text: Callable[[str], None] | None = None) -> Answer:
        """Answer from what was heard.

        Raises InputError if the question is empty or too long, UnfitModelError if the model only
        transcribes.
        """
        if not isinstance(question, str):
            raise InputError(f"A question is a text, not {type(question).__name__}.")
        # Arguments of a command line may hold bytes that are no text, which no event could.
        question = question.encode("utf-8", "replace").decode().strip()
        if not question:
            raise InputError("The question is empty.", cure="Ask something.")
        self._remember()
        if not self.n_segments:
            self.memory.question_ids(question)  # what cannot be asked is refused all the same
            # A model that heard nothing answers all the same, with whatever is likely.
            return Answer(question, NOTHING_HEARD, self.clock_s, heard=False)
        since_s = self._held_s[0] if self._held_s else self.clock_s
        return self._answering.answer(
            question, clock_s=self.clock_s, since_s=since_s, on_text=on_text
        )

    def _step(self, samples: Samples, live: bool) -> Iterator[Event]:
        self.n_samples += len(samples)
        yield from self._news(self.endpointer.push(samples))
        # Before anything else is decoded: now the turn can be taken over as it is.
        yield from self._catch_up()
        if live:
            yield from self._partial()
        every_s = self.settings.report_interval_s
        if every_s and self.clock_s - self._reported_s >= every_s:
            self._reported_s = self.clock_s
            yield self._report()

    def _news(self, news: list[Started | Ended]) -> Iterator[Event]:
        for item in news:
            if isinstance(item, Ended):
                yield from self._end_segment(item.segment)
            else:
                self._drafter.reset()
                self._partial_end_s = 0.0
                yield SpeechStarted(item.id, item.start_sample / SAMPLE_RATE_HZ)

    def _partial(self) -> Iterator[Event]:
        wanted = self.settings.partial_interval_s > 0
        before = self._drafter.draft.text if self._drafter.draft else ""
        draft = self._drafter.look(self.endpointer, partials=wanted)
        if draft is None or not wanted:
            return
        # The end of a pause may lie a frame before the end of an earlier draft.
        self._partial_end_s = max(self._partial_end_s, draft.end_sample / SAMPLE_RATE_HZ)
        start_s, stable = draft.start_sample / SAMPLE_RATE_HZ, stable_prefix(before, draft.text)
        yield Partial(draft.id, start_s, self._partial_end_s, draft.text, stable)

    def _end_segment(self, segment: Segment) -> Iterator[Event]:
        yield from self._catch_up()
        heard, flags, listened = self._final(segment)
        text = heard.decoded.text
        self._told = heard, listened, segment.start_s
        self.n_segments += bool(text.strip())
        final = self._finals.tell(
            Final(segment.id, segment.start_s, segment.end_s, text, flags), heard
        )
        # Before anybody is told: what was told is on the disk.
        complaint = self.recording.keep(final) if self.recording is not None else None
        yield final
        for warning in self._finals.take_warnings():
            yield Warned(self.clock_s, warning)
        if complaint is not None:
            yield Warned(self.clock_s, complaint)
        question = spoken_question(text, self.settings.wake_word)
        if question:
            try:
                yield self.ask(question)
            except (InputError, UnfitModelError) as error:
                yield Warned(self.clock_s, str(error))

    def _catch_up(self) -> Iterator[Event]:
        """Put what was told into the memory."""
        self._remember()
        yield from self._evictions()

    def _remember(self) -> None:
        if self._told is None:
            return
        (heard, listened, start_s), self._told = self._told, None
        if listened:
            self.memory.commit(heard.sound.embeddings, heard.decoded, listened=True)
        else:
            self.memory.remember(heard, self.recognizer)
        self._held_s.append(start_s)
        while len(self._held_s) > self.memory.n_turns:
            self._held_s.popleft()
        trim_heap()  # 0.3 ms, and 1 to 2 MB that would stay with the process

    def _final(self, segment: Segment) -> tuple[Heard, tuple[str, ...], bool]:
        """What was said, what the guards did, and whether the memory has it already."""
        if self.settings.context == "fresh":
            heard = self._drafter.final(segment)
            flags = heard.decoded.flags
            return heard, (*flags, "cut") if flags else (), False
        draft = self._drafter.fitting(segment)
        sound = draft.heard.sound if draft else self._drafter.hear(segment)
        decoded = self.memory.transcribe(sound, segment.end_s - segment.start_s)
        flags = decoded.flags
        if not flags and not self.recognizer.follows(decoded, sound):
            flags = (JUMP,)
        if not flags:
            return Heard(decoded, sound), (), True
        # The context may be what misleads: once more without it.
        retried = self._drafter.final(segment)
        flags = (*flags, "retried", *(("cut",) if retried.decoded.flags else ()))
        return retried, flags, False

    def _evictions(self) -> Iterator[Event]:
        cache = self.caches.memory
        freed = cache.stats.freed_rows - self._seen_evictions
        if freed > 0:
            self._seen_evictions += freed
            freed_bytes = freed * cache.context.shape.row_bytes
            yield Evicted(self.clock_s, freed, freed_bytes, int(cache.context.counts.sum()))


def spoken_question(text: str, wake_word: str) -> str:
    """What follows `wake_word` at the start of `text`, in any case; empty if it is not there."""
    spoken = _words(wake_word)
    if not spoken or _words(text)[: len(spoken)] != spoken:
        return ""
    return " ".join(text.split()[len(spoken) :])


def _words(text: str) -> list[str]:
    return [word.strip(".,!?;:").lower() for word in text.split()]
