from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_audiokv.calibrate.alignment import (
    Word,
    align_tokens,
    ctc_align,
    ctc_words,
    log_softmax,
    span,
    words_of,
)
from edge_audiokv.errors import InputError


def test_span_is_the_uniform_map_of_the_paper():
    # 10 s are 125 tokens: 2.00-2.56 s is floor(25) to floor(32).
    assert span(Word("a", 2.0, 2.56), 10.0, 125) == (25, 32)
    assert span(Word("a", 9.9, 10.2), 10.0, 125) == (123, 124)


def test_words_come_from_the_manifest_or_not_at_all():
    entry = {"id": "x", "words": [{"text": "hi", "start_s": 0.1, "end_s": 0.4}]}
    assert words_of(entry) == [Word("hi", 0.1, 0.4, 1.0)]
    with pytest.raises(InputError, match="no usable word times"):
        words_of({"id": "x", "text": "hi", "duration": 3.0})
    with pytest.raises(InputError, match="ends before"):
        words_of({"words": [{"text": "hi", "start_s": 0.4, "end_s": 0.1}]})


def test_tokens_are_matched_to_words_greedily():
    words = [Word(text, i, i + 1) for i, text in enumerate(["The", "cat,", "sat", "the", "end"])]
    pieces = [" the", " c", "at", " dog", " the", " end"]
    assert align_tokens(pieces, words) == [0, 1, 1, None, 3, 4]


def test_a_word_far_ahead_is_no_match():
    words = [Word(text, i, i + 1) for i, text in enumerate(["a", *"bcdefghij", "zebra"])]
    assert align_tokens([" zebra"], words, reach=8) == [None]
    assert align_tokens([" zebra"], words, reach=20) == [10]


def best_path_by_hand(log_probs: np.ndarray, labels: list[int]) -> float:
    """Likelihood of the best path, by trying every path."""
    best = -np.inf
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        merged = [p for p, _ in itertools.groupby(path)]
        if [p for p in merged if p != 0] == labels:
            best = max(best, sum(log_probs[t, p] for t, p in enumerate(path)))
    return best


@pytest.mark.parametrize("labels", [[1], [1, 2], [1, 1], [2, 1, 2]])
def test_forced_alignment_finds_the_best_path(labels):
    rng = np.random.default_rng(len(labels))
    log_probs = log_softmax(rng.standard_normal((6, 3)))
    emissions = ctc_align(log_probs, labels)
    path = np.zeros(6, int)
    for label, emission in zip(labels, emissions, strict=True):
        path[emission.first : emission.last + 1] = label
    found = sum(log_probs[t, p] for t, p in enumerate(path))
    assert found == pytest.approx(best_path_by_hand(log_probs, labels), abs=1e-5)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        ctc_align(log_softmax(np.zeros((2, 3))), [1, 1])


def test_words_reach_half_way_to_their_neighbours():
    log_probs = np.full((20, 3), -9.0, np.float32)
    log_probs[:, 0] = -0.01
    for frame, label in ((4, 1), (8, 2)):
        log_probs[frame, 0], log_probs[frame, label] = -9, -0.1
    first, second = ctc_words(log_probs, ["one", "two"], [[1], [2]], frame_s=0.08)
    assert (first.start_s, first.end_s) == (pytest.approx(0.08), pytest.approx(6.5 * 0.08))
    assert (second.start_s, second.end_s) == (pytest.approx(6.5 * 0.08), pytest.approx(12 * 0.08))
    assert first.confidence == pytest.approx(np.exp(-0.1), rel=1e-4)
