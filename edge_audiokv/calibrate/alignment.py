"""Words with times, and which word each token spells: what audio-critical heads are judged against.

Times come from a manifest that carries them ("words") or from a forced alignment of CTC posteriors
(`ctc_words`): the encoder's own (heard.py) or those of a training checkpoint. They are never spread
evenly: a clip without times is an error.
Source of the procedure: AudioKV (2604.06694), section on semantic-acoustic alignment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import InputError
from edge_audiokv.kv.shape import FloatArray

_PLAIN = re.compile(r"[^a-z0-9']")


@dataclass(frozen=True)
class Word:
    """A spoken word; `confidence` in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    confidence: float = 1.0


def words_of(entry: dict[str, Any]) -> list[Word]:
    """The words of a manifest entry: {"words": [{"text", "start_s", "end_s", "confidence"?}]}.

    Raises InputError if there are none or they are malformed.
    """
    try:
        words = [
            Word(
                str(word["text"]),
                float(word["start_s"]),
                float(word["end_s"]),
                float(word.get("confidence", 1.0)),
            )
            for word in entry["words"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Clip {entry.get('id', '?')} carries no usable word times ({error}).",
            cure='Give "words" with times, or leave them out for an encoder that names words.',
        ) from None
    if any(not 0 <= word.start_s < word.end_s < math.inf for word in words):
        raise InputError(f"Clip {entry.get('id', '?')} has a word that ends before it starts.")
    return words


def span(word: Word, duration_s: float, n_audio: int) -> tuple[int, int]:
    """First and last audio token of `word`, inclusive, on the uniform map floor(t / T * N)."""
    start = int(word.start_s / duration_s * n_audio)
    end = int(word.end_s / duration_s * n_audio)
    last = max(0, n_audio - 1)
    return min(start, last), min(max(end, start), last)


def plain(text: str) -> str:
    """Lower case, letters, digits and apostrophes only."""
    return _PLAIN.sub("", text.lower())


def align_tokens(
    pieces: Sequence[str], words: Sequence[Word], *, reach: int = 8
) -> list[int | None]:
    """Which word each token belongs to, greedily from left to right; None for the rest.

    `pieces` are the tokens' texts in order; a piece that opens with a space starts a new word. A
    spelt word takes the next equal word at most `reach` words ahead of the last match.
    """
    result: list[int | None] = [None] * len(pieces)
    at = 0
    for start, stop in _spelt(pieces):
        text = plain("".join(pieces[start:stop]))
        if not text:
            continue
        for index in range(at, min(len(words), at + reach)):
            if plain(words[index].text) == text:
                result[start:stop] = [index] * (stop - start)
                at = index + 1
                break
    return result


def _spelt(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Runs of tokens that spell one word each."""
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece[:1].isspace()]
    return list(zip(starts, [*starts[1:], len(pieces)], strict=True))


@dataclass(frozen=True)
class Emission:
    """Where a label was emitted: frames [first, last] and the mean posterior there."""

    first: int
    last: int
    confidence: float


def ctc_align(log_probs: FloatArray, labels: Sequence[int], *, blank: int = 0) -> list[Emission]:
    """The best CTC path of `labels` through log_probs [T, V] (Viterbi), one Emission a label.

    Raises InputError if the labels do not fit the frames.
    """
    n_frames, n_labels = len(log_probs), len(labels)
    states = [blank]
    for label in labels:
        states += [label, blank]
    n_states = len(states)
    ids = np.asarray(states)
    # A label may be entered from the label before it, unless they are equal (a blank is due then).
    skips = np.zeros(n_states, bool)
    skips[3::2] = ids[3::2] != ids[1:-2:2]
    score = np.full(n_states, -np.inf)
    score[:2] = log_probs[0, ids[:2]] if n_labels else log_probs[0, ids[:1]]
    back = np.zeros((n_frames, n_states), np.int8)
    for t in range(1, n_frames):
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(skips, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        moves = np.stack([score, one, two])
        back[t] = moves.argmax(axis=0)
        score = moves.max(axis=0) + log_probs[t, ids]
    state = n_states - 1 if n_labels == 0 or score[-1] >= score[-2] else n_states - 2
    if not np.isfinite(score[state]):
        raise InputError(f"{n_labels} labels do not fit {n_frames} frames.")
    path = np.empty(n_frames, int)
    for t in range(n_frames - 1, -1, -1):
        path[t] = state
        state -= int(back[t, state])
    emissions = []
    for index in range(n_labels):
        frames = np.flatnonzero(path == 2 * index + 1)
        posterior = np.exp(log_probs[frames, labels[index]]).max()
        emissions.append(Emission(int(frames[0]), int(frames[-1]), float(posterior)))
    return emissions


def ctc_words(
    log_probs: FloatArray,
    words: Sequence[str],
    labels: Sequence[Sequence[int]],
    *,
    frame_s: float,
    blank: int = 0,
    reach_frames: int = 3,
) -> list[Word]:
    """Words with times from CTC posteriors [T, V]; `labels` [word][token] spell the words.

    CTC emits in spikes, so a word reaches half way to its neighbours' spikes, at most
    `reach_frames` beyond its own. Its confidence is the least posterior of its labels.
    """
    emissions = ctc_align(log_probs, [x for word in labels for x in word], blank=blank)
    runs: list[tuple[int, int, float]] = []
    at = 0
    for word in labels:
        mine = emissions[at : at + len(word)]
        runs.append((mine[0].first, mine[-1].last, min(e.confidence for e in mine)))
        at += len(word)
    result = []
    for index, (text, (first, last, confidence)) in enumerate(zip(words, runs, strict=True)):
        before = (runs[index - 1][1] + first + 1) / 2 if index else 0.0
        after = (last + runs[index + 1][0] + 1) / 2 if index + 1 < len(runs) else len(log_probs)
        start = max(before, first - reach_frames, 0.0)
        end = min(after, last + 1 + reach_frames, len(log_probs))
        start, end = min(start, first), max(end, last + 1)
        result.append(Word(text, start * frame_s, end * frame_s, confidence))
    return result


def log_softmax(logits: NDArray[np.floating]) -> FloatArray:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float32)
