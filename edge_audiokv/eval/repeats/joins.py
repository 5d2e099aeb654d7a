"""Joins in which a stretch of a clip is said several times in a row, between other speech.

Stretches are cut at pauses, which the times of the words give, so that all is real speech whose
text is known.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.events import Word

# Words further apart than this have a pause between them that can be cut.
_PAUSE_S = 0.12
_FADE_SAMPLES = SAMPLE_RATE_HZ // 200
# Of what is repeated, and of what stands around it.
PHRASE_WORDS, PHRASE_S = (3, 12), (0.9, 5.0)
AROUND_WORDS, AROUND_S = (3, 40), (1.5, 7.0)
# All of a join is one segment, with room for what speech detection adds.
LONGEST_S = 19.0
_SILENCE_S = (0.15, 0.35)


@dataclass(frozen=True)
class Stretch:
    """Float32 [S] at 16 kHz of what the clip `source` says in `text`."""

    source: str
    speaker: str
    text: str
    samples: Samples

    @property
    def n_words(self) -> int:
        return len(self.text.split())

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Join:
    """`before`, `phrase` said `times` times, and `after`, all of one speaker."""

    before: Stretch
    phrase: Stretch
    after: Stretch
    times: int
    samples: Samples

    @property
    def parts(self) -> list[Stretch]:
        """In the order of the sound."""
        return [self.before, *[self.phrase] * self.times, self.after]

    @property
    def text(self) -> str:
        return " ".join(part.text for part in self.parts)


def stretches(
    source: str, speaker: str, samples: Samples, words: Sequence[Word]
) -> Iterator[Stretch]:
    """All parts of a clip, float32 [S] at 16 kHz, that begin and end at a pause or at its ends."""
    end_s = len(samples) / SAMPLE_RATE_HZ
    cuts = [(0, 0.0)]
    for index, (left, right) in enumerate(pairwise(words), 1):
        if right.start_s - left.end_s >= _PAUSE_S:
            cuts.append((index, _quietest_s(samples, left.end_s, right.start_s)))
    cuts.append((len(words), end_s))
    for at, (first, begin_s) in enumerate(cuts):
        for last, finish_s in cuts[at + 1 :]:
            text = " ".join(word.text for word in words[first:last])
            begin, finish = (int(time_s * SAMPLE_RATE_HZ) for time_s in (begin_s, finish_s))
            yield Stretch(source, speaker, text, samples[begin:finish])


def make_joins(parts: Iterable[Stretch], *, count: int, seed: int) -> Iterator[Join]:
    """`count` joins of two to four rounds; fewer if no three parts of one speaker fit."""
    rng = random.Random(seed)
    phrases: list[Stretch] = []
    around: dict[str, list[Stretch]] = {}
    for part in parts:
        if _fits(part, PHRASE_WORDS, PHRASE_S):
            phrases.append(part)
        if _fits(part, AROUND_WORDS, AROUND_S):
            around.setdefault(part.speaker, []).append(part)
    rng.shuffle(phrases)
    made = 0
    for turn in range(4 * count):
        if made == count or not phrases:
            return
        phrase, times = phrases[turn % len(phrases)], 2 + made % 3
        others = [p for p in around.get(phrase.speaker, []) if p.source != phrase.source]
        if len({p.source for p in others}) < 2:
            continue
        before = rng.choice(others)
        after = rng.choice([p for p in others if p.source != before.source])
        samples = _joined([before, *[phrase] * times, after], rng)
        if len(samples) <= LONGEST_S * SAMPLE_RATE_HZ:
            made += 1
            yield Join(before, phrase, after, times, samples)


def _fits(part: Stretch, words: tuple[int, int], seconds: tuple[float, float]) -> bool:
    return words[0] <= part.n_words <= words[1] and seconds[0] <= part.duration_s <= seconds[1]


def _joined(parts: Sequence[Stretch], rng: random.Random) -> Samples:
    pieces: list[Samples] = []
    for part in parts:
        if pieces:
            pieces.append(np.zeros(int(rng.uniform(*_SILENCE_S) * SAMPLE_RATE_HZ), np.float32))
        pieces.append(_faded(part.samples))
    return np.concatenate(pieces)


def _faded(samples: Samples) -> Samples:
    """No click where a stretch was cut."""
    ramp = np.linspace(0, 1, min(_FADE_SAMPLES, len(samples) // 2), dtype=np.float32)
    out = samples.astype(np.float32)
    if len(ramp):
        out[: len(ramp)] *= ramp
        out[-len(ramp) :] *= ramp[::-1]
    return out


def _quietest_s(samples: Samples, start_s: float, end_s: float) -> float:
    """The quietest moment between two times."""
    frame = SAMPLE_RATE_HZ // 100
    first, last = int(start_s * SAMPLE_RATE_HZ), int(end_s * SAMPLE_RATE_HZ)
    part = samples[first : first + max(1, (last - first) // frame) * frame]
    if len(part) < frame:
        return (start_s + end_s) / 2
    energy = np.square(part[: len(part) // frame * frame].reshape(-1, frame)).sum(axis=1)
    return (first + (int(energy.argmin()) + 0.5) * frame) / SAMPLE_RATE_HZ
