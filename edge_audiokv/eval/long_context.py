"""One cache that holds minutes of sound, for measuring what is still known of it.

With `kv_share` below 1 the pools have that share of the rows from the start, and rows go while the
sound is heard, as in a session: no question can be foreseen by what is evicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self
from weakref import ref

import numpy as np

from edge_audiokv.archive.recording import Recording
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.cache import HeadCache, open_cache, policy_of
from edge_audiokv.engine.decoding.decode import Decoded, greedy
from edge_audiokv.engine.decoding.guard import LoopGuard
from edge_audiokv.engine.memory.estimate import shape_of
from edge_audiokv.engine.memory.rolling import (
    MAX_ANSWER_TOKENS,
    MAX_QUESTION_TOKENS,
    MAX_REMINDER_TOKENS,
    RollingMemory,
)
from edge_audiokv.engine.recall.answering import Answering
from edge_audiokv.engine.recall.opening import recall_from
from edge_audiokv.engine.recognizer import Heard, Recognizer
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError, MemoryBudgetError
from edge_audiokv.events import Answer, Final
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import Kind
from edge_audiokv.lifetime import Loadable

ROW_MULTIPLE = 64
# The longest turn: 30 s of sound, the prompt around it and its text.
MAX_TURN_TOKENS = 30 * 13 + 64 + 30 * 8
# Positions beside the sound: the prompt, a question and its answer.
SPARE_TOKENS = 320


# Texts of sounds that are still there, by their identity.
Texts = dict[int, tuple[ref[Sound], Decoded]]


class LongContext(Loadable):
    """A runtime, unless another's is lent, and one cache of `max_tokens` positions. `load()` does
    the work.
    """

    # Does what is heard have to fit the positions that the model was trained for?
    is_bounded = True
    # Rows that every head keeps for what is read at once, whatever the share.
    least_rows = 640

    def __init__(
        self, settings: EngineSettings, max_tokens: int, *, runtime: Runtime | None = None
    ) -> None:
        self.settings, self.max_tokens = settings, max_tokens
        self.runtime = Runtime(settings) if runtime is None else runtime
        self._is_lent = runtime is not None
        self._cache: HeadCache | None = None

    def load(self) -> Self:
        """Raises InputError if the model was not trained for so many positions."""
        if self._cache is not None:
            return self
        runtime = self.runtime.load()
        trained = runtime.model.n_ctx_train
        if self.max_tokens > trained and not self.is_bounded:
            self.max_tokens = trained
        if self.max_tokens > trained:
            self.close()
            raise InputError(
                f"This needs {self.max_tokens} positions; the model knows {trained}.",
                cure="Use less sound.",
            )
        policy, shape = policy_of(runtime), shape_of(runtime.find())
        rows, share = self.max_tokens, self.settings.kv_share
        capacity = np.full((shape.n_layer, shape.n_kv_head), rows, np.int32)
        if share < 1 and policy.evicts:
            wanted = int(share * rows * shape.n_head)
            self._check_share(share, rows)
            capacity = policy.budgets(
                wanted, shape, rows, row_multiple=ROW_MULTIPLE, least_rows=self.least_rows
            )
        self._cache = open_cache(runtime, capacity, policy, max_tokens=rows)
        return self

    def _check_share(self, share: float, rows: int) -> None:
        least_rows = math.ceil(self.least_rows / ROW_MULTIPLE) * ROW_MULTIPLE
        if int(share * rows) < least_rows:
            self.close()
            raise MemoryBudgetError(
                f"{share:.3g} of {rows} rows are less than the {least_rows} that a head needs for "
                "what is read at once.",
                cure=f"Use --kv-budget {math.ceil(100 * least_rows / rows)}% or more, or longer "
                "joins.",
            )

    @property
    def cache(self) -> HeadCache:
        self.load()
        if self._cache is None:
            raise RuntimeError("load() left no cache")
        return self._cache

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()
        self._cache = None
        if not self._is_lent:
            self.runtime.close()

    def hear(self, samples: FloatArray) -> Sound:
        """What `listen` takes of `samples` [S]; nothing is written of a single turn, or read."""
        return self.runtime.hear(samples, final=False)

    def listen(self, sounds: Sequence[Sound]) -> None:
        """Forget all and hear the sounds one after another in a single turn."""
        cache, template, model = self.cache, self.runtime.template, self.runtime.model
        cache.clear()
        cache.append_tokens(template.before_ids(model), Kind.PROMPT)
        for sound in sounds:
            cache.append_embeddings(sound.embeddings)
        cache.make_room(MAX_QUESTION_TOKENS + MAX_ANSWER_TOKENS)

    def ask(self, question: str) -> str:
        """The answer about what was heard, which stays as it was."""
        cache, model = self.cache, self.runtime.model
        start = cache.next_position
        guard = LoopGuard(0.0, slack_tokens=MAX_ANSWER_TOKENS - 1)
        with cache.unobserved():
            logits = cache.ask(self.runtime.template.after_ids(model, question))
            text = greedy(cache, model, logits, guard).text
        cache.truncate(start)
        return text


class Conversation(LongContext):
    """Every sound is a turn of its own with the text that the model wrote for it, read alone and
    then remembered, as a session does. When positions run out, `placement` says what becomes of old
    time; with `recalls` a question brings back turns that share its words.

    Texts are found once for each sound, however often it is heard; `texts` are those that another
    one has found with the same model and settings, and takes what this one finds.
    """

    is_bounded = False
    _memory: RollingMemory | None = None
    _recognizer: Recognizer | None = None
    # A whole turn, and a question after it.
    least_rows = MAX_TURN_TOKENS + MAX_QUESTION_TOKENS + MAX_ANSWER_TOKENS

    def __init__(
        self,
        settings: EngineSettings,
        max_tokens: int,
        placement: str = DEFAULT_PLACEMENT,
        *,
        recalls: bool = False,
        texts: Texts | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(settings, max_tokens, runtime=runtime)
        self.placement = placement
        self._recording = Recording(None) if recalls else None
        self.least_rows += MAX_REMINDER_TOKENS * recalls
        self._texts: Texts = {} if texts is None else texts
        self._clock_s = 0.0

    def load(self) -> Self:
        """As LongContext, and a small cache for the turn in progress."""
        super().load()
        if self._recognizer is None:
            runtime = self.runtime
            policy, shape = policy_of(runtime), shape_of(runtime.find())
            rows = np.full((shape.n_layer, shape.n_kv_head), MAX_TURN_TOKENS, np.int32)
            scratch = open_cache(runtime, rows, policy, max_tokens=MAX_TURN_TOKENS, share=1.0)
            self._recognizer = Recognizer(runtime, scratch)
        return self

    def close(self) -> None:
        if self._recognizer is not None:
            self._recognizer.cache.close()
        self._recognizer = None
        if self._recording is not None:
            self._recording.close()
        super().close()

    def hear(self, samples: FloatArray) -> Sound:
        """What a session hears when a turn has ended, its words read in order."""
        return self.runtime.hear(samples, final=True)

    def listen(self, sounds: Sequence[Sound]) -> None:
        """Forget all, then transcribe the sounds turn by turn."""
        self.load()
        if self._recognizer is None:
            raise RuntimeError("load() left no recognizer")
        self.cache.clear()
        runtime = self.runtime
        recording, clock_s = self._recording, 0.0
        self._memory = memory = RollingMemory(
            runtime,
            self.cache,
            max_turn_tokens=MAX_TURN_TOKENS,
            placement=self.placement,
            reminder_tokens=MAX_REMINDER_TOKENS if recording is not None else 0,
        )
        if recording is not None:
            recording.forget()
        for number, sound in enumerate(sounds):
            start_s = clock_s
            clock_s += len(sound) / runtime.encoder.tokens_per_second
            heard = self._hear(self._recognizer, sound, clock_s - start_s)
            memory.remember(heard, self._recognizer)
            if recording is not None:
                recording.keep(Final(number, start_s, clock_s, heard.decoded.text))
        self._clock_s = clock_s

    def _hear(self, recognizer: Recognizer, sound: Sound, duration_s: float) -> Heard:
        for key in [key for key, (there, _) in self._texts.items() if there() is None]:
            del self._texts[key]
        known = self._texts.get(id(sound))
        if known is None:
            heard = recognizer.read(sound, duration_s)
            self._texts[id(sound)] = ref(sound), heard.decoded
            return heard
        heard = Heard(known[1], sound)
        recognizer.take_up(heard)
        return heard

    def ask(self, question: str) -> str:
        """The answer about what was heard, which stays as it was."""
        return self.answer(question).text

    def answer(self, question: str) -> Answer:
        """As a session gives it."""
        if self._memory is None or self._recognizer is None:
            raise RuntimeError("asked before listen()")
        recall = recall_from(self._recording, self.runtime) if self._recording else None
        answering = Answering(self._memory, self._recognizer, recall)
        return answering.answer(question, clock_s=self._clock_s, since_s=0.0)


def context_for(
    settings: EngineSettings,
    seconds: float,
    *,
    turns: bool,
    placement: str = DEFAULT_PLACEMENT,
    recalls: bool = False,
    texts: Texts | None = None,
    runtime: Runtime | None = None,
) -> LongContext:
    """A cache that holds a join of `seconds`, heard in one turn or as a session's turns.

    In turns it may be longer than the model's positions: what goes then follows `placement`.
    """
    if not turns:
        return LongContext(settings, _tokens_of(seconds), runtime=runtime)
    return Conversation(
        settings,
        tokens_of_turns(seconds),
        placement,
        recalls=recalls,
        texts=texts,
        runtime=runtime,
    )


def tokens_of_turns(seconds: float) -> int:
    """Positions that a join of `seconds` takes in turns: their text and what is around them takes
    up to half as many as the sound.
    """
    tokens = _tokens_of(seconds)
    return tokens + tokens // 2 + MAX_TURN_TOKENS


def _tokens_of(seconds: float) -> int:
    # A join is at most one clip (30 s) longer than asked for.
    return int((seconds + 30) * 12.5) + SPARE_TOKENS
