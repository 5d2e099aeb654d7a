"""Cuts a stream into stretches of speech: when they start, when they end, what was said.

A stretch starts when enough frames are voiced, reaches back over a short pre-roll, ends after a
silence, and is split at its quietest point before it grows past the longest length that the
encoder takes. Silence gives nothing. The same code serves a live stream and a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge_audiokv.audio.history import History
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.audio.vad import FRAME_SAMPLES, Detector

_MAX_ENCODER_S = 30.0
# Samples looked at in one go: bounds the buffer whatever the caller pushes.
_STEP_SAMPLES = 64 * FRAME_SAMPLES


@dataclass(frozen=True)
class EndpointConfig:
    """How speech is cut. The first three have the names of the OpenAI realtime API.

    threshold             probability from which a frame counts as voiced
    prefix_padding_ms     sound kept before the first voiced frame
    silence_duration_ms   silence that ends a segment; one that is longer than half of the longest
                          ends at ever shorter ones, down to suffix_padding_ms
    suffix_padding_ms     sound kept after the last voiced frame
    min_speech_ms         voiced time before anything is reported: shorter clicks are dropped
    max_segment_s         longest segment, at most 30 s; longer speech is split
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    suffix_padding_ms: int = 200
    min_speech_ms: int = 160
    max_segment_s: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, not {self.threshold}")
        for name in ("prefix_padding_ms", "suffix_padding_ms", "min_speech_ms"):
            if not 0 <= getattr(self, name) <= 5000:
                raise ValueError(f"{name} must be 0-5000 ms, not {getattr(self, name)}")
        if not 32 <= self.silence_duration_ms <= 10_000:
            raise ValueError(
                f"silence_duration_ms must be 32-10000 ms, not {self.silence_duration_ms}"
            )
        if not 1 <= self.max_segment_s <= _MAX_ENCODER_S:
            raise ValueError(f"max_segment_s must be 1-30 s, not {self.max_segment_s}")
        if self.prefix_padding_ms + self.min_speech_ms > self.max_segment_s * 500:
            raise ValueError("prefix_padding_ms + min_speech_ms must fit half of max_segment_s")

    @property
    def release_threshold(self) -> float:
        """Below this an open segment is silent: lower than `threshold`, so it does not flutter."""
        return max(0.05, self.threshold - 0.15)


@dataclass(frozen=True)
class Segment:
    """A stretch of speech. `samples` is float32 [S] at 16 kHz, the caller's own copy.

    `cut` says that the speech went on and the next segment starts where this one ends.
    """

    id: int
    start_sample: int
    end_sample: int
    samples: Samples
    cut: bool = False

    @property
    def start_s(self) -> float:
        return self.start_sample / SAMPLE_RATE_HZ

    @property
    def end_s(self) -> float:
        return self.end_sample / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Started:
    """Speech `id` has begun at `start_sample` (pre-roll included) and is still going on."""

    id: int
    start_sample: int


@dataclass(frozen=True)
class Ended:
    segment: Segment


def _to_samples(duration_ms: float) -> int:
    return round(duration_ms * SAMPLE_RATE_HZ / 1000)


class Endpointer:
    """`push()` samples in any pieces; `flush()` at the end of the stream.

    Guarantees: one Started and then one Ended for each id, ids count up from `first_id`; segments
    are in order, do not overlap, lie within the stream and are never longer than `max_segment_s`.
    """

    def __init__(
        self, detector: Detector, config: EndpointConfig | None = None, *, first_id: int = 0
    ) -> None:
        config = config or EndpointConfig()
        self._detector = detector
        self._next_id = first_id
        self._use(config)
        self._history = History(self._max_samples + 2 * _STEP_SAMPLES)
        self._longest_s = config.max_segment_s
        self._position = 0  # samples that the detector has judged
        self._last_end = 0
        self._total: int | None = None  # samples of the whole stream, once that is known
        self._voiced_start: int | None = None  # first voiced sample of a candidate or segment
        self._voiced_end = 0
        self._voiced_samples = 0
        self._open: Started | None = None

    def adjust(self, config: EndpointConfig) -> None:
        """Cut like this from now on; no segment may be open. Raises ValueError for a longer
        `max_segment_s` than the first, for which there is no room.
        """
        if config.max_segment_s > self._longest_s:
            raise ValueError(
                f"max_segment_s must be at most {self._longest_s:g} s, not {config.max_segment_s:g}"
            )
        self._use(config)

    def _use(self, config: EndpointConfig) -> None:
        self.config = config
        self._max_samples = int(config.max_segment_s * SAMPLE_RATE_HZ)
        self._pre_roll = _to_samples(config.prefix_padding_ms)
        self._suffix = _to_samples(min(config.suffix_padding_ms, config.silence_duration_ms))
        self._silence = _to_samples(config.silence_duration_ms)
        self._min_speech = max(1, _to_samples(config.min_speech_ms))

    def push(self, samples: Samples) -> list[Started | Ended]:
        """Take float32 [S]; say what began and ended in it."""
        news: list[Started | Ended] = []
        for first in range(0, len(samples), _STEP_SAMPLES):
            self._history.append(samples[first : first + _STEP_SAMPLES])
            frames = (self._history.end - self._position) // FRAME_SAMPLES
            news += self._judge(frames)
            self._forget()
        return news

    def flush(self) -> list[Started | Ended]:
        """The stream is over: judge what is left and close the open segment."""
        news: list[Started | Ended] = []
        self._total = total = self._history.end
        missing = -(total - self._position) % FRAME_SAMPLES
        if total > self._position:
            self._history.append(np.zeros(missing, np.float32))
            news += self._judge(1)
        if self._open is not None:
            news.append(self._end(self._voiced_end + self._suffix, cut=False))
        self._voiced_start = None
        self._history.clear(total)
        self._position = self._last_end = total
        self._total = None
        self._detector.reset()
        return news

    def pause(self) -> list[Ended]:
        """The sound has stopped coming: end the open segment, as silence would. Time stands still.

        What comes next goes on where this left off.
        """
        self._voiced_start = None
        if self._open is None:
            return []
        news = self._end(min(self._voiced_end + self._suffix, self._history.end), cut=False)
        self._forget()
        return [news]

    @property
    def open_segment(self) -> Segment | None:
        """The speech that is still going on, up to now; None in silence."""
        if self._open is None:
            return None
        start, end = self._open.start_sample, self._history.end
        samples = self._history.slice(start, end).copy()
        return Segment(self._open.id, start, end, samples, cut=True)

    @property
    def in_pause(self) -> bool:
        """A segment is open and its last frames were silent: it may just have ended."""
        return self._open is not None and self._position > self._voiced_end

    @property
    def paused_segment(self) -> Segment | None:
        """The open speech exactly as it will end if the silence that has begun goes on.

        None while somebody speaks, and until the silence has lasted `suffix_padding_ms`. Whoever
        wants the text early can work on it while the endpointer still waits.
        """
        if self._open is None or self._position - self._voiced_end < self._suffix:
            return None
        start = self._open.start_sample
        end = min(self._voiced_end + self._suffix, start + self._max_samples)
        samples = self._history.slice(start, end).copy()
        return Segment(self._open.id, start, end, samples)

    @property
    def nbytes(self) -> int:
        """Bytes of sound that can be held: fixed when the endpointer is made."""
        return self._history.nbytes

    def _judge(self, frame_count: int) -> list[Started | Ended]:
        news: list[Started | Ended] = []
        if frame_count < 1:
            return news
        end = self._position + frame_count * FRAME_SAMPLES
        frames = self._history.slice(self._position, end).reshape(frame_count, FRAME_SAMPLES)
        for probability in self._detector.probabilities(frames).tolist():
            if self._too_long():
                news += self._split()
            news += self._step(probability)
        return news

    def _too_long(self) -> bool:
        """Whether the open segment has no room for one more frame."""
        after = self._position + FRAME_SAMPLES
        return self._open is not None and after - self._open.start_sample > self._max_samples

    def _step(self, probability: float) -> list[Started | Ended]:
        """One frame: `_position` moves over it."""
        config = self.config
        start = self._position
        self._position += FRAME_SAMPLES
        inside = self._voiced_start is not None
        if probability >= (config.release_threshold if inside else config.threshold):
            if self._voiced_start is None:
                self._voiced_start = start
                self._voiced_samples = 0
            self._voiced_end = self._position
            self._voiced_samples += FRAME_SAMPLES
            begin = max(self._last_end, self._voiced_start - self._pre_roll)
            enough = self._voiced_samples >= self._min_speech
            # Speech that only flickers must not outgrow the buffer while it waits.
            if self._open is None and (enough or self._position - begin >= self._max_samples // 2):
                return [self._start(begin)]
        elif inside and self._position - self._voiced_end >= self._needed_silence:
            self._voiced_start = None
            if self._open is not None:
                return [self._end(self._voiced_end + self._suffix, cut=False)]
        return []

    @property
    def _needed_silence(self) -> int:
        """Samples of silence that end the segment now.

        From half of its greatest length on ever fewer, down to the padding: a short pause is a
        better place to cut than the quietest point of a word, and the text comes sooner.
        """
        if self._open is None:
            return self._silence
        half = self._max_samples // 2
        over = max(0, self._voiced_end - self._open.start_sample - half)
        return self._silence - (self._silence - self._suffix) * min(over, half) // half

    def _start(self, sample: int) -> Started:
        self._open = Started(self._next_id, sample)
        self._next_id += 1
        return self._open

    def _end(self, sample: int, *, cut: bool) -> Ended:
        if self._open is None:
            raise RuntimeError("no segment is open")
        started, self._open = self._open, None
        sample = min(sample, started.start_sample + self._max_samples)
        if self._total is not None:
            sample = min(sample, self._total)
        self._last_end = sample
        samples = self._history.slice(started.start_sample, sample).copy()
        return Ended(Segment(started.id, started.start_sample, sample, samples, cut))

    def _split(self) -> list[Started | Ended]:
        """End the open segment at its quietest point and go on with the rest, if it is voiced."""
        if self._open is None:
            return []
        start = self._open.start_sample
        sample = self._history.quietest(start + self._max_samples // 2, self._position)
        goes_on = self._voiced_end > sample
        if not goes_on:
            sample = min(sample, self._voiced_end + self._suffix)
        news: list[Started | Ended] = [self._end(sample, cut=goes_on)]
        if goes_on:
            self._voiced_start = sample
            news.append(self._start(sample))
        else:
            self._voiced_start = None
        return news

    def _forget(self) -> None:
        """Drop the sound that no segment can need any more."""
        if self._open is not None:
            self._history.drop_before(self._open.start_sample)
        elif self._voiced_start is not None:
            self._history.drop_before(self._voiced_start - self._pre_roll)
        else:
            self._history.drop_before(self._position - self._pre_roll)


def segments(
    source: AudioSource, detector: Detector, config: EndpointConfig | None = None
) -> Iterator[Segment]:
    """All speech of an open, finite source, in order, read as it is asked for."""
    endpointer = Endpointer(detector, config)
    while (samples := source.read(SAMPLE_RATE_HZ)) is not None:
        for news in endpointer.push(samples):
            if isinstance(news, Ended):
                yield news.segment
    for news in endpointer.flush():
        if isinstance(news, Ended):
            yield news.segment
