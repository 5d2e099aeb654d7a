"""Turns that a question is about, brought back from the archive into the view of the model.

Retrieval by words, BM25 (archive/search.py), and reading what was found beside the question, as in
Lewis et al., Retrieval-Augmented Generation (2020); what is found are the session's own turns, in
the form in which the memory keeps them.
"""

from __future__ import annotations

from edge_audiokv.archive.recording import Recording
from edge_audiokv.archive.turn import Turn
from edge_audiokv.engine.memory.rolling import MAX_REMINDER_TOKENS
from edge_audiokv.engine.prompt import PromptTemplate, Tokenizer
from edge_audiokv.engine.recall.sought import span_sought, words_sought

# More turns would crowd out the best.
MOST_TURNS = 4


class Recall:
    """Finds turns of the session that `recording` keeps, and writes them as the model reads them.

    Raises UnfitModelError for a model that only transcribes.
    """

    def __init__(self, recording: Recording, template: PromptTemplate, model: Tokenizer) -> None:
        self._recording, self._model = recording, model
        self._before = template.ask_ids(model, template.question)
        self._end = template.end_ids(model)

    def turns(self, question: str, *, clock_s: float) -> list[tuple[Turn, list[int]]]:
        """At most `MOST_TURNS` turns of `MAX_REMINDER_TOKENS` in all, in the order in which they
        were said, with their tokens: of the time that `question` names (`clock_s` is now), else
        those that share words with it.

        None is found in an archive that fails: then the cache alone answers.
        """
        chosen: list[tuple[Turn, list[int]]] = []
        free_tokens = MAX_REMINDER_TOKENS
        for turn in self._found(question, clock_s):
            ids = self.ids(turn.text)
            if len(ids) <= free_tokens:
                chosen.append((turn, ids))
                free_tokens -= len(ids)
        return sorted(chosen, key=lambda each: each[0].start_s)

    def _found(self, question: str, clock_s: float) -> list[Turn]:
        span = span_sought(question, clock_s)
        if span is not None:
            return self._recording.between(*span, limit=MOST_TURNS)
        return self._recording.find(words_sought(question), limit=MOST_TURNS)

    def ids(self, text: str) -> list[int]:
        """Tokens of a turn that asks what was said, and tells `text`."""
        return [*self._before, *self._model.tokenize(text, special=False), *self._end]
