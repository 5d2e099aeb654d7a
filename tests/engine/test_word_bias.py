"""Belief in words becomes a weight on tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.word_bias import WordBias

WORDS = (" rich", "mond", " russia", " the", " a")
END = 9


class Letters:
    """Tokens: 0 " rich", 1 "mond", 2 " russia", 3 " the", 4 " a", 5 "rich"; others unused."""

    n_vocab = 10
    texts = (" rich", "mond", " russia", " the", " a", "rich")

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        ids = []
        while text:
            token = next(i for i, piece in enumerate(self.texts) if text.startswith(piece))
            ids.append(token)
            text = text[len(self.texts[token]) :]
        return ids

    def is_end_of_generation(self, token: int) -> bool:
        return token == END


def heard(*rows: dict[int, float]) -> Sound:
    words = np.array([[*row, *[4] * (2 - len(row))] for row in rows], np.int32)
    beliefs = np.array([[*row.values(), *[0.0] * (2 - len(row))] for row in rows], np.float32)
    return Sound(np.zeros((len(rows), 3), np.float32), words, beliefs)


def bias(sound: Sound, weight: float = 0.5) -> np.ndarray:
    out = WordBias(WORDS, Letters(), weight=weight, floor=0.02).of(sound)
    assert isinstance(out, np.ndarray)
    return out


def test_a_token_counts_by_the_strongest_belief_in_its_word() -> None:
    got = bias(heard({0: 0.9, 2: 0.05}, {1: 0.3, 2: 0.2}, {0: 0.1}))
    expected = [0.9, 0.3, 0.2, 0.02, 0.02, 0.5, 0.02, 0.02, 0.02, 1.0]
    np.testing.assert_allclose(got, 0.5 * np.log(expected), rtol=1e-5)
    assert got.dtype == np.float32


def test_the_likeliest_reading_counts_as_a_whole_with_and_without_its_first_space() -> None:
    got = bias(heard({0: 0.6}, {1: 0.45, 2: 0.05}))
    assert got[1] == pytest.approx(0.5 * math.log(0.45)), "0.45 is less than silence there"
    got = bias(heard({0: 0.6}, {1: 0.49, 2: 0.05}))
    assert got[[1, 5]] == pytest.approx(0.5 * math.log(0.5))


def test_the_weight_scales_and_nought_turns_it_off() -> None:
    sound = heard({0: 0.9})
    np.testing.assert_allclose(bias(sound, 1.0), 2 * bias(sound), rtol=1e-6)
    assert WordBias(WORDS, Letters(), weight=0.0, floor=0.02).of(sound) == 0.0


def test_sound_without_words_is_left_to_the_llm() -> None:
    plain = Sound.of(np.zeros((3, 3), np.float32))
    assert WordBias(WORDS, Letters(), weight=0.5, floor=0.02).of(plain) == 0.0


def test_the_tables_answer_for_their_bytes() -> None:
    assert WordBias(WORDS, Letters(), weight=0.5, floor=0.02).nbytes == 2 * len(WORDS) * 4
