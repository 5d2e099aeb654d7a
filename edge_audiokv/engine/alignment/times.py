"""Rows to seconds: when each word begins and ends.

CTC names a word in one row, as a rule (a spike), about where it begins: later if the word before it
was named just now, a little earlier after a pause. It ends before the next word, sooner if there is
room. How much follows from the gaps between spikes; the numbers are least absolute deviations from
Whisper tiny.en's cross-attention on 188 training clips of 89 speakers, ends cut at pauses (`eval
words` measures the same on other clips).
"""

from __future__ import annotations

from itertools import pairwise

from edge_audiokv.engine.alignment.place import Alignment, Place
from edge_audiokv.events import Word

# A gap counts in full up to here, and its rest by another slope up to twice as much.
_NEAR_S = 0.32
# Seconds, and seconds a second of the gap before or after.
_START_S, _START_NEAR, _START_FAR = 0.11, -0.40, -0.13
_END_S, _END_NEAR, _END_FAR = 0.11, 0.60, 0.33
# Before the first word and after the last one it is silent.
_SILENT_S = 2 * _NEAR_S


def timed(alignment: Alignment, *, frame_s: float, start_s: float = 0.0) -> tuple[Word, ...]:
    """Words with times from `start_s` on, in order, never overlapping, inside the sound."""
    places = alignment.words
    sound_s = alignment.n_rows * frame_s
    gaps_s = [(b.first - a.last) * frame_s for a, b in pairwise(places)]
    starts_s: list[float] = []
    ends_s: list[float] = []
    for place, before_s, after_s in zip(
        places, [_SILENT_S, *gaps_s], [*gaps_s, _SILENT_S], strict=False
    ):
        begin_s = (place.first + 0.5) * frame_s
        begin_s += _START_S + _by_gap(before_s, _START_NEAR, _START_FAR)
        end_s = (place.last + 0.5) * frame_s + _END_S + _by_gap(after_s, _END_NEAR, _END_FAR)
        if ends_s and begin_s < ends_s[-1]:
            # Between the two guesses of one border, and behind what is fixed already.
            ends_s[-1] = begin_s = max(starts_s[-1], (begin_s + ends_s[-1]) / 2)
        starts_s.append(min(max(begin_s, 0.0), sound_s))
        ends_s.append(min(max(end_s, starts_s[-1]), sound_s))
    return tuple(
        _word(place, start_s + begin_s, start_s + end_s)
        for place, begin_s, end_s in zip(places, starts_s, ends_s, strict=True)
    )


def _by_gap(gap_s: float, near: float, far: float) -> float:
    near_s = min(max(gap_s, 0.0), _NEAR_S)
    far_s = min(max(gap_s - _NEAR_S, 0.0), _NEAR_S)
    return near * near_s + far * far_s


def _word(place: Place, start_s: float, end_s: float) -> Word:
    return Word(place.text, start_s, end_s, place.confidence)
