"""The session's memory: one cache that holds all turns so far, within its budget, for ever.

A turn is the prompt, the audio, the question and the answer, as the model was trained on them.
Before a turn begins there is room for all of it, so nothing is evicted while it is decoded, and
room for a question stays free after it, so that asking leaves the memory as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.cache import HeadCache
from edge_audiokv.engine.decoding.choose import Chooser, witness_of
from edge_audiokv.engine.decoding.decode import Decoded, greedy, text_of
from edge_audiokv.engine.decoding.guard import LoopGuard
from edge_audiokv.engine.decoding.search import Search
from edge_audiokv.engine.decoding.tags import tags_of
from edge_audiokv.engine.recognizer import Heard, Recognizer
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.errors import InputError
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT, DROP
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import Kind

MAX_QUESTION_TOKENS = 96
MAX_ANSWER_TOKENS = 96
# Of turns that are brought back to stand before a question.
MAX_REMINDER_TOKENS = 256
# Turns whose place is known; a cache has rows for fewer.
_MOST_TURNS = 4096
# Share of the trained context that is free again when its end was near, and share whose rows keep
# their true distances then.
_FREE_SHARE, _RECENT_SHARE = 0.25, 0.25


class RollingMemory:
    """Turns go in; questions are answered from them.

    `max_turn_tokens` bounds one turn, answer included. `placement` says what becomes of old time
    when positions run out (kv/placement.py). `reminder_tokens` is room beside a question for turns
    that are brought back.
    """

    def __init__(
        self,
        runtime: Runtime,
        cache: HeadCache,
        *,
        max_turn_tokens: int,
        placement: str = DEFAULT_PLACEMENT,
        reminder_tokens: int = 0,
    ) -> None:
        self.runtime = runtime
        self.cache = cache
        self.max_turn_tokens = max_turn_tokens
        self.placement = placement
        self.reminder_tokens = reminder_tokens
        # Where each turn ends that has not left with its positions.
        self._ends: deque[int] = deque(maxlen=_MOST_TURNS)
        model, template = runtime.model, runtime.template
        self._before = template.before_ids(model)
        self._after = template.after_ids(model)
        self._end = template.end_ids(model)
        self._n_context = model.n_ctx_train
        self._turn_start: int | None = None

    @property
    def nbytes(self) -> int:
        return self.cache.nbytes

    @property
    def reserve_tokens(self) -> int:
        """Rows that stay free between turns, for a question with its reminders, and its answer."""
        return self.reminder_tokens + MAX_QUESTION_TOKENS + MAX_ANSWER_TOKENS

    @property
    def n_turns(self) -> int:
        """How many of the newest turns may have rows here; those of older ones have left."""
        return len(self._ends)

    def transcribe(
        self,
        sound: Sound,
        duration_s: float,
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Decoded:
        """Decode a segment with all earlier turns in view. `commit` or `discard` it afterwards."""
        self._begin()
        logits = self._listen(sound.embeddings)
        model = self.runtime.model

        def tell(ids: Sequence[int]) -> None:
            if on_text is not None:
                on_text(text_of(model, ids, growing=True).strip())

        def guard(chooser: Chooser) -> LoopGuard:
            return LoopGuard(duration_s, witness_of(chooser), tags_of(model))

        chooser, start = self.runtime.words_heard.chooser(sound), self.cache.next_position
        decoded = greedy(self.cache, model, logits, guard(chooser), on_token=tell, chooser=chooser)
        search = Search(self.cache, model, start, guard)
        best = search.better(decoded, chooser)
        if not best.flags:
            n_kept = search.n_kept(best)
            self.cache.truncate(start + n_kept)
            self.cache.append_tokens(best.ids[n_kept:], Kind.TEXT)
        return best

    def commit(self, embeddings: FloatArray, decoded: Decoded, *, listened: bool) -> None:
        """Make the segment part of the memory, with `decoded` as its text.

        `listened` says that `transcribe` has just put its audio there.
        """
        if not (listened and not decoded.flags):
            # The text differs from what was decoded here: say it anew, as it was told.
            self.discard()
            self._begin()
            self._listen(embeddings)
            self.cache.append_tokens(decoded.ids, Kind.TEXT)
        self.cache.append_tokens(self._end, Kind.PROMPT)
        self._close_turn()

    def remember(self, heard: Heard, recognizer: Recognizer) -> None:
        """Make a segment that `recognizer` has read alone part of the memory.

        If its cache still holds the turn, that is taken over as it is, at a cost that does not grow
        with what is remembered; else the segment is read again.
        """
        turn, embeddings = recognizer.cache, heard.sound.embeddings
        closed = self.cache.can_adopt(turn) and recognizer.close_turn(heard)
        # Closing a turn that is longer than its cache evicts.
        if not (closed and turn.is_whole):
            self.commit(embeddings, heard.decoded, listened=False)
            return
        self._begin()
        self.cache.adopt(turn, embeddings)
        self._close_turn()

    def discard(self) -> None:
        """Forget the segment that was transcribed but not committed."""
        if self._turn_start is not None:
            self.cache.truncate(self._turn_start)
            self._turn_start = None

    def ask(
        self,
        question: str,
        *,
        reminders: Sequence[int] = (),
        recognizer: Recognizer | None = None,
        chooser: Chooser | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Decoded:
        """Answer from what was heard; the memory is as before afterwards.

        `reminders` are tokens of turns that are read before the question, at most
        `reminder_tokens`; by `recognizer`, if it is given, alone, as the turns of the memory were:
        then their cost does not grow with what is remembered. Raises InputError if the question is
        longer than `MAX_QUESTION_TOKENS`.
        """
        model = self.runtime.model
        ids = self.question_ids(question)
        self.discard()
        self._free_positions(self.reserve_tokens)
        start = self.cache.next_position

        def tell(ids: Sequence[int]) -> None:
            if on_text is not None:
                on_text(text_of(model, ids, growing=True).strip())

        guard = LoopGuard(0.0, slack_tokens=MAX_ANSWER_TOKENS - 1)
        try:
            with self.cache.unobserved():
                self._remind(reminders, recognizer)
                logits = self.cache.ask(ids)
                return greedy(self.cache, model, logits, guard, on_token=tell, chooser=chooser)
        finally:
            self.cache.truncate(start)

    def _remind(self, ids: Sequence[int], recognizer: Recognizer | None) -> None:
        turn = recognizer.recite(ids) if recognizer is not None and ids else None
        if turn is not None and self.cache.can_adopt(turn):
            self.cache.adopt(turn)
        else:
            self.cache.append_tokens(ids, Kind.TEXT)

    def question_ids(self, question: str) -> list[int]:
        """Tokens of a turn that asks `question`. Raises InputError if there are too many."""
        # As people write who take the time: with a small letter a small model is less sure.
        question = question[:1].upper() + question[1:]
        ids = self.runtime.template.ask_ids(self.runtime.model, question)
        if len(ids) > MAX_QUESTION_TOKENS:
            raise InputError(
                f"The question has {len(ids)} tokens; {MAX_QUESTION_TOKENS} are the most.",
                cure="Ask it in fewer words.",
            )
        return ids

    def _begin(self) -> None:
        """Room for a whole turn and a question after it, in rows and in positions."""
        # What an interrupted turn left behind.
        self.discard()
        needed_tokens = self.max_turn_tokens + self.reserve_tokens
        self._free_positions(needed_tokens)
        self.cache.make_room(needed_tokens)
        self._turn_start = self.cache.next_position

    def _close_turn(self) -> None:
        self._turn_start = None
        self._ends.append(self.cache.next_position)
        self.cache.make_room(self.reserve_tokens)

    def _listen(self, embeddings: FloatArray) -> FloatArray:
        self.cache.append_tokens(self._before, Kind.PROMPT)
        self.cache.append_embeddings(embeddings)
        return self.cache.ask(self._after)

    def _free_positions(self, n_tokens: int) -> None:
        """Room for `n_tokens` before the end of the trained context, and for more to come."""
        cache, n_context = self.cache, self._n_context
        if cache.next_position + n_tokens <= n_context:
            return
        if not cache.can_turn:
            # No row can move to another position, so that all begins again.
            cache.clear()
            self._ends.clear()
            return
        free_tokens = int(n_context * _FREE_SHARE)
        if self.placement != DROP:
            most = n_context - n_tokens
            cache.squeeze(
                self.placement,
                recent_tokens=int(n_context * _RECENT_SHARE),
                limit=max(most - free_tokens, most // 2),
            )
            return
        first = cache.controller.settings.n_sinks
        while cache.next_position + n_tokens > n_context:
            cache.shift(free_tokens, first=first)
            kept = (end - free_tokens for end in self._ends if end - free_tokens > first)
            self._ends = deque(kept, maxlen=_MOST_TURNS)
