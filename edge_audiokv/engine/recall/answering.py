"""From a question to the answer that is given: what is brought back, said, and held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_audiokv.archive.search import is_number, telling_words
from edge_audiokv.engine.decoding.decode import Decoded, text_of
from edge_audiokv.engine.memory.rolling import MAX_ANSWER_TOKENS, RollingMemory
from edge_audiokv.engine.recall.evidence import (
    NOT_HEARD,
    Weighing,
    confidence_of,
    evidence_of,
    is_bare,
)
from edge_audiokv.engine.recall.sought import choices_in, is_order_sought, quoted_in, words_sought
from edge_audiokv.engine.recall.sources import bears_out, is_one_of_many, sources_of
from edge_audiokv.engine.recognizer import Recognizer
from edge_audiokv.events import Answer

if TYPE_CHECKING:
    from edge_audiokv.engine.recall.recall import Found, Recall


def _earliest(question: str, found: Sequence[Found]) -> str | None:
    """Which of the words that `question` quotes, and asks the order of, was said first: the one
    that stands in the turn that was found. None if that turn holds several.
    """
    if not is_order_sought(question) or len(found) != 1:
        return None
    said = telling_words(found[0].turn.text)
    held = [each for each in choices_in(question) if telling_words(each) <= said]
    return held[0] if len(held) == 1 else None


class Answering:
    """Answers from `memory` and, if there is one, from what `recall` finds.

    The `recognizer`'s cache, which is empty afterwards, weighs an answer against what the model
    would say without having heard anything.
    """

    def __init__(
        self, memory: RollingMemory, recognizer: Recognizer, recall: Recall | None
    ) -> None:
        self._memory, self._recognizer, self._recall = memory, recognizer, recall
        template = memory.runtime.template
        self._least_evidence = template.least_evidence
        self._least_confidence = template.least_confidence
        self._weighs = bool(template.least_evidence or template.least_confidence)

    def answer(
        self,
        question: str,
        *,
        clock_s: float,
        since_s: float,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """It is `clock_s` now; the cache has rows of what began at `since_s` or later.

        `on_text` sees the answer grow; one that is weighed first grows when that is done. Raises
        InputError if the question is too long, UnfitModelError if the model only transcribes.
        """
        recall = self._recall
        found = recall.turns(question, clock_s=clock_s) if recall is not None else []
        earliest = _earliest(question, found)
        if earliest is not None:
            # Which came first the archive knows; the model would guess.
            if on_text is not None:
                on_text(earliest)
            given = Answer(question, earliest, clock_s)
            turns = [each.turn for each in found]
            return replace(given, sources=sources_of(earliest, turns, since_s=since_s))
        # From the one turn that fits, if one does: in a full memory a small model takes what was
        # said last, or often, for what was asked, and takes longer.
        alone = self._from_best(question, clock_s, found, since_s) if len(found) == 1 else None
        if alone is not None and not alone[0].declined:
            given, decoded = alone
        else:
            given, decoded = self._from_all(question, clock_s, found, since_s, alone, on_text)
        if self._weighs and not given.declined and is_number(given.text):
            turns = [each.turn for each in found]
            if is_one_of_many(given.text, words_sought(question), turns):
                given = replace(given, text=NOT_HEARD, declined=True, sources=())
        if self._weighs:
            self._grow(given, decoded, on_text)
        if given.declined or given.sources:
            return given
        sources = sources_of(given.text, [each.turn for each in found], since_s=since_s)
        return replace(given, sources=sources)

    def _from_all(
        self,
        question: str,
        clock_s: float,
        found: Sequence[Found],
        since_s: float,
        alone: tuple[Answer, Decoded] | None,
        on_text: Callable[[str], None] | None,
    ) -> tuple[Answer, Decoded]:
        """What the model answers from its whole memory, and what was found read once more. If that
        was not said where the question's words were, what it answers from the best of those turns
        `alone`, unless that cannot be had.
        """
        weighing = Weighing() if self._weighs else None
        decoded = self._memory.ask(
            question,
            reminders=self._recall.reading(found) if self._recall is not None else [],
            recognizer=self._recognizer,
            chooser=weighing,
            on_text=None if weighing else on_text,
        )
        given = Answer(question, decoded.text, clock_s)
        if weighing is None:
            return given, decoded
        given = self._weighed(given, decoded, weighing)
        if self._recall is None or given.declined or is_bare(given.text):
            return given, decoded
        if not found and quoted_in(question):
            # Quoted words that nobody said: whatever is repeated is another sentence.
            return replace(given, text=NOT_HEARD, declined=True), decoded
        if any(bears_out(each.turn, given.text) for each in found):
            return given, decoded
        best = alone or self._from_best(question, clock_s, found, since_s)
        return best or (given, decoded)

    def _weighed(self, answer: Answer, decoded: Decoded, weighing: Weighing) -> Answer:
        """`answer` with what it rests on, or declined if that is too little."""
        if is_bare(answer.text):
            return answer
        ids, heard = decoded.ids[: len(weighing.chances)], weighing.chances[: len(decoded.ids)]
        asked = self._memory.question_ids(answer.question)
        evidence = evidence_of(heard, self._recognizer.unheard(asked, ids))
        answer = replace(answer, evidence=evidence, confidence=confidence_of(heard))
        if evidence >= self._least_evidence and confidence_of(heard) >= self._least_confidence:
            return answer
        return replace(answer, text=NOT_HEARD, declined=True)

    def _from_best(
        self, question: str, clock_s: float, found: Sequence[Found], since_s: float
    ) -> tuple[Answer, Decoded] | None:
        """What the model answers from the best turn and nothing else, or from that and the next:
        the answer to what was spoken of may come after a pause. Declined if that was not said
        there. None if there is no best, or no room for it.
        """
        best = next((each for each in found if each.is_best), None)
        if best is None or self._recall is None or not self._weighs:
            return None
        alone = self._from_turn(question, clock_s, best)
        if alone is None or not alone[0].declined or quoted_in(question):
            return alone
        both = self._recall.with_next(best)
        more = self._from_turn(question, clock_s, both) if both is not None else None
        if both is None or more is None or more[0].declined:
            return alone
        given, decoded = more
        if is_number(given.text) and not bears_out(best.turn, given.text):
            # One number after another: which belongs to what was asked nobody can tell.
            return alone
        sources = sources_of(given.text, [both.turn], since_s=since_s)
        return replace(given, sources=sources), decoded

    def _from_turn(
        self, question: str, clock_s: float, best: Found
    ) -> tuple[Answer, Decoded] | None:
        """What the model answers from a turn and nothing else; declined if that was not said there.
        None if there is no room for it.
        """
        weighing = Weighing()
        # Twice, as `Recall.reading` has it.
        prompt = [*best.ids, *best.ids, *self._memory.question_ids(question)]
        decoded = self._recognizer.reply(prompt, most_tokens=MAX_ANSWER_TOKENS, chooser=weighing)
        if decoded is None:
            return None
        given = self._weighed(Answer(question, decoded.text, clock_s), decoded, weighing)
        if not given.declined and not bears_out(best.turn, given.text):
            given = replace(given, text=NOT_HEARD, declined=True)
        return given, decoded

    def _grow(
        self, answer: Answer, decoded: Decoded, on_text: Callable[[str], None] | None
    ) -> None:
        """Tell what was held back until it was weighed, token by token."""
        if on_text is None:
            return
        if answer.declined:
            on_text(answer.text)
            return
        for n_tokens in range(1, len(decoded.ids) + 1):
            on_text(
                text_of(self._memory.runtime.model, decoded.ids[:n_tokens], growing=True).strip()
            )
