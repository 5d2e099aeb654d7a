"""From a question to the answer that is given: what is brought back, said, and held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_audiokv.engine.decoding.decode import Decoded, text_of
from edge_audiokv.engine.memory.rolling import MAX_ANSWER_TOKENS, RollingMemory
from edge_audiokv.engine.recall.evidence import (
    NOT_HEARD,
    Weighing,
    confidence_of,
    evidence_of,
    is_bare,
)
from edge_audiokv.engine.recall.sought import quoted_in
from edge_audiokv.engine.recall.sources import sources_of
from edge_audiokv.engine.recognizer import Recognizer
from edge_audiokv.events import Answer

if TYPE_CHECKING:
    from edge_audiokv.engine.recall.recall import Found, Recall


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
        weighing = Weighing() if self._weighs else None
        decoded = self._memory.ask(
            question,
            reminders=recall.reading(found) if recall is not None else [],
            recognizer=self._recognizer,
            chooser=weighing,
            on_text=None if weighing else on_text,
        )
        given = Answer(question, decoded.text, clock_s)
        if weighing is not None:
            given = self._weighed(given, decoded, weighing)
            if recall is not None and not given.declined and not is_bare(given.text):
                if not found and quoted_in(question):
                    # Quoted words that nobody said: whatever is repeated is another sentence.
                    given = replace(given, text=NOT_HEARD, declined=True)
                else:
                    given, decoded = self._borne_out(given, decoded, found)
            self._grow(given, decoded, on_text)
        if given.declined:
            return given
        sources = sources_of(given.text, [each.turn for each in found], since_s=since_s)
        return replace(given, sources=sources)

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

    def _borne_out(
        self, answer: Answer, decoded: Decoded, found: Sequence[Found]
    ) -> tuple[Answer, Decoded]:
        """`answer`, or if nothing of it was said where its question's words were, what the model
        answers from the best of those turns alone: in a full memory a small model takes what is
        said last, or often, for what was asked. Declined if that was not said there, either.
        """
        turns = [each.turn for each in found]
        best = next((each for each in found if each.is_best), None)
        if best is None or sources_of(answer.text, turns, since_s=0.0):
            return answer, decoded
        prompt = [*best.ids, *self._memory.question_ids(answer.question)]
        weighing = Weighing()
        again = self._recognizer.reply(prompt, most_tokens=MAX_ANSWER_TOKENS, chooser=weighing)
        if again is None:
            return answer, decoded
        given = self._weighed(replace(answer, text=again.text), again, weighing)
        if given.declined or not sources_of(again.text, [best.turn], since_s=0.0):
            return replace(answer, text=NOT_HEARD, declined=True), decoded
        return given, again

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
