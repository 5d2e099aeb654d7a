"""The LLM's next token is weighed with the words that the encoder believes to be in the sound.

A small LLM writes fluent neighbours of a word that it was shown (Richmond, Russia). Hybrid decoding
(Watanabe et al. 2017, doi:10.1109/JSTSP.2017.2763455) adds the log probability of a second reader
that hears and does not guess. Ours takes a set for the prefix score of that paper: a token counts
by the strongest belief, anywhere in the sound, in a word that holds it; order is left to the LLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.kv.shape import FloatArray

# Tokens of the likeliest reading as a whole, words made of pieces among them.
_PATH_BELIEF = 0.5


class Vocabulary(Protocol):
    """What the bias needs of a model."""

    @property
    def n_vocab(self) -> int: ...

    def tokenize(self, text: str, *, special: bool = True) -> list[int]: ...

    def is_end_of_generation(self, token: int) -> bool: ...


class WordBias:
    """`weight` times the log belief in each token, at least that of `floor`.

    `words` are the texts of the encoder's vocabulary, with the space before those that begin one.
    """

    def __init__(
        self, words: Sequence[str], vocabulary: Vocabulary, *, weight: float, floor: float
    ) -> None:
        self.weight, self.floor = weight, floor
        self._words, self._vocabulary = words, vocabulary
        pieces = [self._tokens(word) for word in words] if weight else []
        self._pieces = np.array([t for ids in pieces for t in ids], np.int32)
        self._ends = np.cumsum([len(ids) for ids in pieces], dtype=np.int32)
        every = range(vocabulary.n_vocab if pieces else 0)
        self._always = [token for token in every if vocabulary.is_end_of_generation(token)]

    @property
    def nbytes(self) -> int:
        return self._pieces.nbytes + self._ends.nbytes

    def of(self, sound: Sound) -> FloatArray | float:
        """What to add to the logits [V] while `sound` is written down; 0.0 if it has no words."""
        if not self.weight or not sound.words.shape[1]:
            return 0.0
        belief = np.full(self._vocabulary.n_vocab, self.floor, np.float32)
        text = "".join(self._words[word] for word in sound.best_path)
        for reading in (text, text.strip()):
            belief[self._tokens(reading)] = _PATH_BELIEF
        strongest = np.zeros(len(self._ends), np.float32)
        np.maximum.at(strongest, sound.words.ravel(), sound.beliefs.ravel())
        for word in np.flatnonzero(strongest > self.floor):
            start = self._ends[word - 1] if word else 0
            tokens = self._pieces[start : self._ends[word]]
            belief[tokens] = np.maximum(belief[tokens], strongest[word])
        belief[self._always] = 1
        bias: FloatArray = np.float32(self.weight) * np.log(belief)
        return bias

    def _tokens(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text, special=False) if text else []
