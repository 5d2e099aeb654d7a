"""Turns that a question is about, brought back from the archive into the view of the model.

Retrieval by words, BM25 (archive/search.py), and reading what was found beside the question, as in
Lewis et al., Retrieval-Augmented Generation (2020); what is found are the session's own turns, in
the form in which the memory keeps them. The best is read twice, as in Arora et al., Just Read Twice
(2024): only the second time does the model know all of a turn while it reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_audiokv.archive.recording import Recording
from edge_audiokv.archive.search import telling_words
from edge_audiokv.archive.turn import Turn
from edge_audiokv.engine.memory.rolling import MAX_REMINDER_TOKENS
from edge_audiokv.engine.prompt import PromptTemplate, Tokenizer
from edge_audiokv.engine.recall.sought import (
    choices_in,
    is_order_sought,
    is_start_sought,
    span_sought,
    words_sought,
)

# More turns would crowd out the best, and so would any that fits the question much worse: each
# costs time, and a small model takes words from all.
MOST_TURNS = 4
LEAST_SHARE = 0.5
# Of those that hold a word, any may be the first.
_MANY_TURNS = 256
# Who pauses longer speaks of something else.
_NEXT_S = 5.0


@dataclass(frozen=True)
class Found:
    """A turn and its tokens. `is_best` of one, which is to be read again at the end."""

    turn: Turn
    ids: list[int]
    is_best: bool = False


class Recall:
    """Finds turns of the session that `recording` keeps, and writes them as the model reads them.

    Raises UnfitModelError for a model that only transcribes.
    """

    def __init__(self, recording: Recording, template: PromptTemplate, model: Tokenizer) -> None:
        self._recording, self._model = recording, model
        self._before = template.ask_ids(model, template.question)
        self._end = template.end_ids(model)

    def turns(self, question: str, *, clock_s: float) -> list[Found]:
        """At most `MOST_TURNS` turns in the order in which they were said: of the time that
        `question` names (`clock_s` is now), the first if it asks for that, the
        first with one of the words of which it asks for the first, else those that share words
        with it. `reading` them takes `MAX_REMINDER_TOKENS` at most.

        None is found in an archive that fails: then the cache alone answers.
        """
        chosen: list[Found] = []
        free_tokens = MAX_REMINDER_TOKENS
        for turn in self._found(question, clock_s):
            ids = self.ids(turn.text)
            is_best = not chosen and 2 * len(ids) <= free_tokens
            needed_tokens = 2 * len(ids) if is_best else len(ids)
            if needed_tokens <= free_tokens:
                chosen.append(Found(turn, ids, is_best))
                free_tokens -= needed_tokens
        return sorted(chosen, key=lambda each: each.turn.start_s)

    def _found(self, question: str, clock_s: float) -> list[Turn]:
        span = span_sought(question, clock_s)
        if span is not None:
            return self._recording.between(*span, limit=MOST_TURNS)
        if is_start_sought(question):
            return self._recording.between(0.0, clock_s, limit=1)
        if is_order_sought(question):
            said = [self._first_with(words) for words in choices_in(question)]
            return sorted(filter(None, said), key=lambda turn: turn.start_s)[:1]
        sought = words_sought(question)
        return self._recording.find(sought, limit=MOST_TURNS, least_share=LEAST_SHARE)

    def _first_with(self, words: str) -> Turn | None:
        """The first turn that holds all of `words`, of the many that fit them best."""
        telling = telling_words(words)
        found = self._recording.find(words, limit=_MANY_TURNS)
        whole = [turn for turn in found if telling <= telling_words(turn.text)]
        return min(whole, key=lambda turn: turn.start_s, default=None)

    def with_next(self, found: Found) -> Found | None:
        """The turn of `found` and the one after it, as one; None if there is none, or both are too
        long to be read twice. A pause parts what somebody says of a thing.
        """
        turn = found.turn
        near = self._recording.between(turn.start_s, turn.end_s + _NEXT_S, limit=3)
        after = next((each for each in near if each.start_s > turn.start_s), None)
        if after is None:
            return None
        both = replace(turn, end_s=after.end_s, text=f"{turn.text} {after.text}")
        ids = self.ids(both.text)
        return Found(both, ids, True) if 2 * len(ids) <= MAX_REMINDER_TOKENS else None

    @staticmethod
    def reading(found: Sequence[Found]) -> list[int]:
        """Tokens to read before the question."""
        again = [token for each in found if each.is_best for token in each.ids]
        return [*(token for each in found for token in each.ids), *again]

    def ids(self, text: str) -> list[int]:
        """Tokens of a turn that asks what was said, and tells `text`."""
        return [*self._before, *self._model.tokenize(text, special=False), *self._end]
