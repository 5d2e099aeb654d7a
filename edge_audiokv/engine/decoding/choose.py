"""How the next token is chosen: by the LLM's logits alone, or with the encoder's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.decoding.ctc_prefix import CtcPrefix, Prefix
from edge_audiokv.engine.decoding.guard import Witness
from edge_audiokv.kv.shape import FloatArray

# Tokens that may be chosen: the likeliest so many. Others have no chance against these.
_CANDIDATES = 64
_STRICTNESS = 2.0
# A step that loses more than this of the log probability makes up what was not heard; then so many
# texts that were heard are tried, too.
_LOST, _HEARD_NEXT = 1.0, 8
# A token that was not heard costs the whole of log(floor), one that was heard little. A floor lower
# than this is none.
_UNHEARD_SHARE, _LEAST_FLOOR = 0.5, 1e-4


class Chooser(Protocol):
    """Chooses tokens one by one; `push` tells it which one was written down."""

    def pick(self, logits: FloatArray) -> int: ...

    def push(self, token: int) -> None: ...


class Vocabulary(Protocol):
    """What choosing needs of a model."""

    def piece(self, token: int) -> bytes: ...

    def is_end_of_generation(self, token: int) -> bool: ...

    def tokenize(self, text: str, *, special: bool) -> list[int]: ...


class Likeliest:
    """The token with the highest logit."""

    def pick(self, logits: FloatArray) -> int:
        return int(np.argmax(logits))

    def push(self, token: int) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True)
class Choice:
    """A token that was written although another one scored nearly as high.

    n_before     tokens written before it
    gap          how far the other one was behind
    other        the other token
    score        of the text before both; `other_score` is that with the other one
    prefix       the encoder's view of the text before both
    """

    n_before: int
    gap: float
    other: int
    score: float
    other_score: float
    prefix: Prefix


class Hybrid:
    """Joint CTC/attention decoding, one pass, greedy (Watanabe et al. 2017, section III).

    A token's score is its log probability plus `weight` times what it takes from the CTC score of
    the text so far; for the end of the text, what is left unsaid counts. A small LLM alone writes
    fluent neighbours of words that it was shown, leaves out and repeats.

    `choices` are the `max_choices` closest calls among those with a gap below `max_gap`: where a
    search may turn off. If there may be any, `score` is that of the text so far; it never rises.
    """

    max_gap = 3.0

    def __init__(
        self, prefixes: CtcPrefix, vocabulary: Vocabulary, *, weight: float, max_choices: int = 0
    ) -> None:
        self.weight, self.max_choices = weight, max_choices
        self.score = 0.0
        self.choices: list[Choice] = []
        self._prefixes, self._vocabulary = prefixes, vocabulary
        self._now = prefixes.start()
        self._tried: dict[int, Prefix] = {}
        # CTC scores after 0, 1, ... tokens: what each cost.
        self._scores = [self._now.score]
        self._picked: tuple[int, float, Choice | None] = (-1, 0.0, None)

    def pick(self, logits: FloatArray) -> int:
        n = min(_CANDIDATES, len(logits))
        likeliest = np.argpartition(logits, len(logits) - n)[-n:]
        likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]
        ranked = self._ranked(logits, likeliest.tolist(), [])
        if ranked[0][0] - logits[ranked[0][1]] < -self.weight * _LOST:
            # Nothing that the LLM would write was heard; what was may be written all the same.
            ranked = self._ranked(logits, self._heard_next(logits), ranked)
        highest, chosen = ranked[0]
        self._picked = chosen, self.score, None
        if self.max_choices:
            step = self.score + highest - log_sum(logits)
            self._picked = chosen, step, self._close_call(ranked, step)
        return chosen

    def _ranked(
        self, logits: FloatArray, tokens: Sequence[int], ranked: list[tuple[float, int]]
    ) -> list[tuple[float, int]]:
        """The two best of `ranked` and `tokens`, which come likeliest first."""
        # Who remembers no close calls need not know the runner-up.
        slack = self.max_gap if self.max_choices else 0.0
        for token in tokens:
            # No token gains by CTC: what is behind by its logit alone stays behind.
            if ranked and logits[token] <= max(
                ranked[1][0] if len(ranked) > 1 else -np.inf, ranked[0][0] - slack
            ):
                break
            if all(token != known for _, known in ranked):
                ranked.append((float(logits[token]) + self.weight * self._cost(token), token))
                ranked = sorted(ranked, key=lambda scored: -scored[0])[:2]
        return ranked

    def _heard_next(self, logits: FloatArray) -> list[int]:
        """Tokens that begin what the sound says next, by their logits."""
        found = set()
        for text in self._prefixes.goes_on(self._now, _HEARD_NEXT):
            # The encoder begins every word with a space, the LLM not the first one.
            more = text if self._now.text else text.strip()
            found.update(self._vocabulary.tokenize(more, special=False)[:1])
        return sorted(found, key=lambda token: -logits[token])

    def push(self, token: int) -> None:
        picked, score, choice = self._picked
        if token == picked:
            self.score = score
            self._remember(choice)
        self._now = self._with(token)
        self._scores.append(self._now.score)
        self._tried.clear()

    def end(self) -> float:
        """The text is over, as was picked last; its score as a whole."""
        self._remember(self._picked[2])
        return self._picked[1]

    def turn_off(self, choice: Choice) -> None:
        """Go back to where `choice` was made and write the other token there."""
        self._now, self._picked = choice.prefix, (-1, 0.0, None)
        del self._scores[choice.n_before + 1 :]
        self._tried.clear()
        self.push(choice.other)
        self.score = choice.other_score

    def bears_out(self, first: int, last: int) -> bool:
        """Were the tokens [first, last) heard? The path of a text never goes back: another round is
        believed only where the sound says it once more.
        """
        if not np.isfinite(self._scores[last]):
            return False
        cost = self._scores[first] - self._scores[last]
        return cost <= (last - first) * self._unheard_cost

    def n_borne_out(self, first: int) -> int:
        """After how many tokens, at least `first`, the text leaves the sound for good."""
        left = np.array(self._scores[first:])
        return first + int(np.argmax(left + self._unheard_cost * np.arange(len(left))))

    @property
    def _unheard_cost(self) -> float:
        return -_UNHEARD_SHARE * max(self._prefixes.log_floor, float(np.log(_LEAST_FLOOR)))

    def _close_call(self, ranked: list[tuple[float, int]], step: float) -> Choice | None:
        if (
            len(ranked) < 2
            or ranked[1][0] == -np.inf
            or ranked[0][0] - ranked[1][0] >= self.max_gap
        ):
            return None
        gap, other = ranked[0][0] - ranked[1][0], ranked[1][1]
        return Choice(len(self._scores) - 1, gap, other, self.score, step - gap, self._now)

    def _remember(self, choice: Choice | None) -> None:
        if choice is not None:
            self.choices.append(choice)
            self.choices.sort(key=lambda known: known.gap)
            del self.choices[self.max_choices :]

    def _cost(self, token: int) -> float:
        """Log probability that `token` costs the path of the text, at most 0."""
        if self._now.score == -np.inf:
            # More text than the sound has rows for: nothing is left to lose.
            return 0.0
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


def witness_of(chooser: Chooser) -> Witness | None:
    """What a guard may ask of `chooser`; None if it knows nothing of the sound."""
    return chooser if isinstance(chooser, Hybrid) else None


def log_sum(logits: FloatArray) -> float:
    """log of the sum of exp(logits): what makes logits log probabilities."""
    highest = float(logits.max())
    return highest + float(np.log(np.exp(logits - highest).sum(dtype=np.float64)))


@dataclass(frozen=True)
class Trust:
    """How much an encoder's words count against the LLM: `weight`, and the belief `floor` in what
    it did not name.
    """

    weight: float
    floor: float


class WordsHeard:
    """Makes the chooser for each sound. Weight 0, or an encoder without words: the LLM alone.

    Words that were read in order are trusted by `ordered`, those of single rows by `weight` and
    `floor`.
    `branches` is how many close calls of a text its chooser remembers.
    """

    def __init__(
        self,
        words: Sequence[str],
        vocabulary: Vocabulary,
        *,
        weight: float,
        floor: float,
        ordered: Trust | None = None,
        branches: int = 0,
    ) -> None:
        self.trust = Trust(weight, floor)
        self.ordered, self.branches = ordered or self.trust, branches
        self._words, self._vocabulary = words, vocabulary

    @property
    def words(self) -> Sequence[str]:
        """The encoder's vocabulary; empty if its words do not count."""
        return self._words if self.trust.weight else ()

    @property
    def floor(self) -> float:
        return self.trust.floor

    def chooser(self, sound: Sound) -> Chooser:
        """For writing down `sound`, from its beginning."""
        return self._hybrid(sound, 1.0) if self.words else Likeliest()

    def strict(self, sound: Sound) -> Chooser | None:
        """For another try: what was not heard costs twice as much. None if nothing was heard that
        could make a difference.
        """
        return self._hybrid(sound, _STRICTNESS) if self.words else None

    def _hybrid(self, sound: Sound, strictness: float) -> Hybrid:
        trust = self.ordered if sound.in_order else self.trust
        prefixes = CtcPrefix(sound, self._words, floor=trust.floor / strictness)
        weight = strictness * trust.weight
        return Hybrid(prefixes, self._vocabulary, weight=weight, max_choices=self.branches)
