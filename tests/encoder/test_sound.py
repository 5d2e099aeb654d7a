"""Sounds joined, and the words read from them."""

from __future__ import annotations

import numpy as np

from edge_audiokv.encoder.sound import Sound


def sound(rows: list[tuple[int, float]]) -> Sound:
    """A row for each (word, belief), another word behind it with a tenth of that."""
    words = np.array([[word, word + 1] for word, _ in rows], np.int32)
    beliefs = np.array([[belief, belief / 10] for _, belief in rows], np.float32)
    return Sound(np.zeros((len(rows), 3), np.float32), words, beliefs)


def test_the_best_path_skips_silence_and_merges_what_lasts() -> None:
    heard = sound([(5, 0.1), (5, 0.8), (5, 0.9), (7, 0.2), (5, 0.6), (7, 0.5), (9, 0.47)])
    # 0.47 against a silence of 1 - 0.47 - 0.047: silence wins.
    assert heard.best_path == [5, 5, 7]


def test_no_words_no_path() -> None:
    plain = Sound.of(np.ones((4, 3), np.float32))
    assert plain.best_path == [] and len(plain) == 4
    assert plain.words.shape == plain.beliefs.shape == (4, 0)


def test_joined_sounds_keep_their_order() -> None:
    joined = Sound.join([sound([(1, 0.9)]), sound([(2, 0.9), (3, 0.1)])])
    assert joined.best_path == [1, 2] and len(joined) == 3
    assert joined.nbytes == 3 * (3 + 2 + 2) * 4
