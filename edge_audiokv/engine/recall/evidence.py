"""How far an answer rests on what was heard, and not on what the model would say anyway.

The evidence for an answer is the mean, over its tokens, of log p(token | what was heard, question)
less log p(token | question alone), in nats: the pointwise mutual information of answer and memory,
which context-aware decoding (Shi et al. 2023) takes as the weight of a context.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from edge_audiokv.engine.decoding.choose import Likeliest, log_sum
from edge_audiokv.kv.shape import FloatArray

# What is answered instead of an answer that has too little evidence.
NOT_HEARD = "I did not hear that."
# The first tokens tell; each costs a step.
MOST_WEIGHED_TOKENS = 24
# Their one token is as likely without any sound.
_BARE = frozenset({"yes", "no"})


class Weighing(Likeliest):
    """Picks the likeliest token, and keeps the log probabilities of the first ones."""

    def __init__(self) -> None:
        self.chances: list[float] = []
        self._latest = 0.0

    def pick(self, logits: FloatArray) -> int:
        token = super().pick(logits)
        self._latest = float(logits[token]) - log_sum(logits)
        return token

    def push(self, token: int) -> None:
        if len(self.chances) < MOST_WEIGHED_TOKENS:
            self.chances.append(self._latest)


def evidence_of(heard: Sequence[float], unheard: Sequence[float]) -> float:
    """Nats a token, from log probabilities with and without what was heard; 0 for no tokens."""
    n_tokens = min(len(heard), len(unheard))
    return (sum(heard[:n_tokens]) - sum(unheard[:n_tokens])) / n_tokens if n_tokens else 0.0


def confidence_of(heard: Sequence[float]) -> float:
    """Geometric mean of the tokens' probabilities, in [0, 1]; 0 for no tokens."""
    return exp(sum(heard) / len(heard)) if heard else 0.0


def is_bare(answer: str) -> bool:
    """Is it a yes or a no, which cannot be weighed?"""
    return answer.strip(" .,!").casefold() in _BARE
