"""How the next token is chosen: by the LLM's logits alone, or with the encoder's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.ctc_prefix import CtcPrefix, Prefix
from edge_audiokv.kv.shape import FloatArray

# Tokens that may be chosen: the likeliest so many. Others have no chance against these.
_CANDIDATES = 64
_STRICTNESS = 2.0


class Chooser(Protocol):
    """Chooses tokens one by one; `push` tells it which one was written down."""

    def pick(self, logits: FloatArray) -> int: ...

    def push(self, token: int) -> None: ...


class Vocabulary(Protocol):
    """What choosing needs of a model."""

    def piece(self, token: int) -> bytes: ...

    def is_end_of_generation(self, token: int) -> bool: ...


class Likeliest:
    """The token with the highest logit."""

    def pick(self, logits: FloatArray) -> int:
        return int(np.argmax(logits))

    def push(self, token: int) -> None:
        """Nothing is remembered."""


class Hybrid:
    """Joint CTC/attention decoding, one pass, greedy (Watanabe et al. 2017, section III).

    A token's score is its logit plus `weight` times what it takes from the CTC score of the text so
    far; for the end of the text, what is left unsaid counts. A small LLM alone writes fluent
    neighbours of words that it was shown, leaves out and repeats.
    """

    def __init__(self, prefixes: CtcPrefix, vocabulary: Vocabulary, *, weight: float) -> None:
        self.weight = weight
        self._prefixes, self._vocabulary = prefixes, vocabulary
        self._now = prefixes.start()
        self._tried: dict[int, Prefix] = {}

    def pick(self, logits: FloatArray) -> int:
        n = min(_CANDIDATES, len(logits))
        likeliest = np.argpartition(logits, len(logits) - n)[-n:]
        likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]
        chosen, highest = int(likeliest[0]), -np.inf
        for token in likeliest.tolist():
            # No token gains by CTC: what is behind by its logit alone stays behind.
            if logits[token] <= highest:
                break
            score = float(logits[token]) + self.weight * self._cost(token)
            if score > highest:
                chosen, highest = token, score
        return chosen

    def push(self, token: int) -> None:
        self._now = self._with(token)
        self._tried.clear()

    def _cost(self, token: int) -> float:
        """Log probability that `token` costs the path of the text, at most 0."""
        if self._vocabulary.is_end_of_generation(token):
            return self._prefixes.whole(self._now) - self._now.score
        return self._with(token).score - self._now.score

    def _with(self, token: int) -> Prefix:
        if token not in self._tried:
            more = self._vocabulary.piece(token).decode("utf-8", "replace").lower()
            # The encoder begins every word with a space, the LLM not the first one.
            space = "" if self._now.text or more.startswith(" ") or not more else " "
            self._tried[token] = self._prefixes.extend(self._now, space + more)
        return self._tried[token]


class WordsHeard:
    """Makes the chooser for each sound. `weight` 0, or an encoder without words: the LLM alone."""

    def __init__(
        self, words: Sequence[str], vocabulary: Vocabulary, *, weight: float, floor: float
    ) -> None:
        self.weight, self.floor = weight if words else 0.0, floor
        self._words, self._vocabulary = words, vocabulary

    def chooser(self, sound: Sound) -> Chooser:
        """For writing down `sound`, from its beginning."""
        return self._hybrid(sound, 1.0) if self.weight else Likeliest()

    def strict(self, sound: Sound) -> Chooser | None:
        """For another try after a loop: what was not heard costs twice as much. None if nothing
        was heard that could make a difference.
        """
        return self._hybrid(sound, _STRICTNESS) if self.weight else None

    def _hybrid(self, sound: Sound, strictness: float) -> Hybrid:
        prefixes = CtcPrefix(sound, self._words, floor=self.floor / strictness)
        return Hybrid(prefixes, self._vocabulary, weight=strictness * self.weight)
