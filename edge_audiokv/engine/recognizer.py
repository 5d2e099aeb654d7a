"""One stretch of speech to text in a fresh context: encode, prefill, evict, decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.alignment.attention import Watcher, forward
from edge_audiokv.engine.alignment.jumps import HeardWord, heard_words
from edge_audiokv.engine.cache import HeadCache
from edge_audiokv.engine.decoding.choose import Chooser, log_sum, witness_of
from edge_audiokv.engine.decoding.decode import Decoded, greedy, text_of
from edge_audiokv.engine.decoding.guard import LoopGuard
from edge_audiokv.engine.decoding.mending import carry_on, mend, n_astray
from edge_audiokv.engine.decoding.search import Search
from edge_audiokv.engine.decoding.tags import tags_of
from edge_audiokv.engine.finals.writing import plain_words
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import Kind


@dataclass
class Stopwatch:
    """Where the time of recognition went, and how much there was of everything."""

    encode_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    audio_s: float = 0.0
    audio_tokens: int = 0
    text_tokens: int = 0
    flags: dict[str, int] = field(default_factory=dict)

    def count(self, flag: str) -> None:
        self.flags[flag] = self.flags.get(flag, 0) + 1

    @property
    def total_s(self) -> float:
        return self.encode_s + self.prefill_s + self.decode_s

    @property
    def realtime_factor(self) -> float:
        """Compute seconds a second of audio."""
        return self.total_s / self.audio_s if self.audio_s else 0.0


@dataclass(frozen=True)
class Heard:
    """Text of a stretch of speech, and the sound that it was read from."""

    decoded: Decoded
    sound: Sound


@dataclass
class _Read:
    """A sound whose prompt ends at `start` in the cache, with the logits [V] of what follows, and
    the tokens of the last text.
    """

    sound: Sound
    start: int
    logits: FloatArray
    ids: tuple[int, ...] = ()


# Embeddings of no sound.
_NO_ROWS = np.empty((0, 0), np.float32)


class Recognizer:
    """Transcribes segments one by one; the cache is cleared before each."""

    def __init__(self, runtime: Runtime, cache: HeadCache) -> None:
        self.runtime = runtime
        self.cache = cache
        self.watch = Stopwatch()
        self._before = runtime.template.before_ids(runtime.model)
        self._after = runtime.template.after_ids(runtime.model)
        self._end = runtime.template.end_ids(runtime.model)
        # What the cache holds: a prompt, maybe a hearing, and how many tokens of its text.
        self._read: _Read | None = None
        self._held: Heard | None = None
        self._n_held = 0
        # Embeddings [T, D] that it holds, whatever comes after them.
        self._rows = _NO_ROWS

    def recognize(
        self,
        samples: FloatArray,
        *,
        draft: Sequence[int] = (),
        final: bool = True,
        on_text: Callable[[str], None] | None = None,
    ) -> Heard:
        """Text of `samples`, float32 [S] at the encoder's rate, at most one window.

        `draft` are the tokens of an earlier, shorter hearing: a guess that saves time if right. A
        `final` text is worth looking for a better one; `on_text` is not told of that.
        """
        duration_s = len(samples) / self.runtime.encoder.sample_rate_hz
        sound = self.hear(samples, final=final)
        return self.read(sound, duration_s, draft=draft, final=final, on_text=on_text)

    def read(
        self,
        sound: Sound,
        duration_s: float,
        *,
        draft: Sequence[int] = (),
        final: bool = True,
        on_text: Callable[[str], None] | None = None,
    ) -> Heard:
        """`recognize`, of what the encoder has made of the samples."""
        self._forget()
        decoded = self._write(sound, duration_s, draft=draft, final=final, on_text=on_text)
        vocabulary = self.runtime.words_heard.words
        if vocabulary:
            heard = heard_words(sound, vocabulary)
            if decoded.flags or (final and n_astray(decoded.text, heard)):
                decoded = self._mended(decoded, sound, heard, final=final)
        elif final and decoded.flags:
            decoded = self._carried_on(decoded, sound)
        for flag in decoded.flags:
            self.watch.count(flag)
        whole = Heard(decoded, sound)
        # A turn can be closed if the cache holds it; of another try only the sound is of use.
        if self._read is not None and self._read.sound is sound:
            self._held = whole
            self._n_held = self._n_held if decoded.ids == self._read.ids else 0
        return whole

    def follows(self, decoded: Decoded, sound: Sound) -> bool:
        """Does a text say what the encoder's words say, none left out or told twice in a row?"""
        return not n_astray(decoded.text, heard_words(sound, self.runtime.words_heard.words))

    def _mended(
        self, first: Decoded, sound: Sound, heard: Sequence[HeardWord], *, final: bool
    ) -> Decoded:
        """`first`, or a text that follows `sound` better."""
        tokens_per_second = self.runtime.encoder.tokens_per_second

        def write(part: Sound, strict: bool) -> Decoded:
            return self._write(part, len(part) / tokens_per_second, strict=strict, final=final)

        mended = mend(first, sound, heard, write, piecewise=final)
        if mended.text != first.text:
            self.watch.count("retried")
        return self._with_ids(mended)

    def _carried_on(self, first: Decoded, sound: Sound) -> Decoded:
        """`first`, which was cut, and the rest of `sound` from where the LLM looked last."""
        tokens_per_second = self.runtime.encoder.tokens_per_second

        def write(part: Sound, strict: bool) -> Decoded:
            return self._write(part, len(part) / tokens_per_second, strict=strict)

        def end_row(decoded: Decoded, part: Sound) -> int:
            attention, _ = self.read_back(Heard(decoded, part), None)
            rows = forward(attention)
            return int(rows[-1]) if len(rows) else -1

        whole = carry_on(first, sound, end_row, write, tokens_per_second=tokens_per_second)
        return self._with_ids(whole)

    def _with_ids(self, decoded: Decoded) -> Decoded:
        """A text that was put together is no single try: its tokens are found anew."""
        if decoded.ids or not decoded.text:
            return decoded
        ids = self.runtime.model.tokenize(decoded.text, special=False)
        return replace(decoded, ids=tuple(ids))

    def _write(
        self,
        sound: Sound,
        duration_s: float,
        *,
        strict: bool = False,
        draft: Sequence[int] = (),
        final: bool = True,
        on_text: Callable[[str], None] | None = None,
    ) -> Decoded:
        """One try at the text of `sound`, from an empty cache or after the prompt that it holds."""
        runtime, cache = self.runtime, self.cache
        read = self._prefilled(sound)

        def tell(ids: Sequence[int]) -> None:
            if on_text is not None:
                on_text(text_of(runtime.model, ids, growing=True).strip())

        def guard(chooser: Chooser) -> LoopGuard:
            return LoopGuard(duration_s, witness_of(chooser), tags_of(runtime.model))

        started = time.perf_counter()
        words = runtime.words_heard
        chooser = (words.strict(sound) if strict else None) or words.chooser(sound)
        if sound.reading:
            draft = runtime.model.tokenize(plain_words(sound.reading), special=False)
        decoded = greedy(
            cache,
            runtime.model,
            read.logits,
            guard(chooser),
            on_token=tell,
            draft=draft,
            chooser=chooser,
        )
        if final:
            search = Search(cache, runtime.model, read.start, guard)
            decoded = search.better(decoded, chooser)
            n_kept = search.n_kept(decoded)
        else:
            n_kept = len(decoded.ids)
        # What a guard has cut off was not all written.
        self._n_held = min(n_kept, cache.next_position - read.start)
        read.ids = decoded.ids
        self.watch.decode_s += time.perf_counter() - started
        self.watch.text_tokens += decoded.n_generated
        return decoded

    def _forget(self) -> None:
        """What the cache holds is not to be built on."""
        self._held = self._read = None

    def _prefilled(self, sound: Sound) -> _Read:
        """The cache with the prompt for `sound` and no text."""
        cache = self.cache
        if self._read is not None and self._read.sound is sound:
            cache.truncate(self._read.start)
            return self._read
        started = time.perf_counter()
        self._listen(sound.embeddings)
        logits = cache.finish_prompt(self._after)
        self._read = _Read(sound, cache.next_position, logits)
        self.watch.prefill_s += time.perf_counter() - started
        return self._read

    def read_ahead(self, embeddings: FloatArray) -> None:
        """Let the LLM read [T, D], the beginning of a sound that is not over: it need not again."""
        started = time.perf_counter()
        self._forget()
        self._listen(embeddings)
        self.watch.prefill_s += time.perf_counter() - started

    def _listen(self, embeddings: FloatArray) -> None:
        """The cache with the prompt up to `embeddings`; what it holds of them stays."""
        cache = self.cache
        n_same = self._n_same(embeddings)
        if n_same:
            cache.truncate(len(self._before) + n_same)
            # What was looked at then was asked by another text.
            cache.forget_scores()
        else:
            cache.clear()
            cache.append_tokens(self._before, Kind.PROMPT)
        self._rows = _NO_ROWS
        cache.append_embeddings(embeddings[n_same:])
        self._rows = embeddings

    def _n_same(self, embeddings: FloatArray) -> int:
        """Rows at the beginning of `embeddings` that the cache holds, all of them in every head."""
        n = min(len(self._rows), len(embeddings), self.cache.next_position - len(self._before))
        if n < 1 or not self.cache.is_whole:
            return 0
        differs = (self._rows[:n] != embeddings[:n]).any(axis=1)
        return int(np.argmax(differs)) if differs.any() else n

    def read_back(self, heard: Heard, weights: FloatArray | None) -> tuple[FloatArray, list[float]]:
        """What the LLM looks at as it writes the text of `heard`, and how likely it finds it.

        Attention [N, T] over the sound's rows and a probability for each of the N tokens. `weights`
        [L, H] is a head profile. The text is read once more, token by token, and the prompt too if
        the cache has heard something else since.
        """
        ids, watcher = heard.decoded.ids, Watcher(len(self._before), len(heard.sound), weights)
        chances: list[float] = []
        if not self._after or not ids:
            return watcher.attention(), chances
        read = self._prefilled(heard.sound)
        # A token is chosen by the one before it: the first by the prompt's last.
        self.cache.truncate(read.start - 1)
        seen = self.cache.read_back([self._after[-1], *ids[:-1]])
        for token, (logits, scores, positions) in zip(ids, seen, strict=True):
            watcher.look(scores, positions)
            chances.append(float(np.exp(logits[token] - log_sum(logits))))
        self._held, self._n_held, read.ids = heard, len(ids) - 1, ids
        return watcher.attention(), chances

    def take_up(self, heard: Heard) -> None:
        """Let the cache hold the prompt for an earlier hearing: its text need not be found again,
        and its turn can be closed.
        """
        read = self._prefilled(heard.sound)
        self._held, self._n_held, read.ids = heard, 0, heard.decoded.ids

    def unheard(self, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
        """Log probabilities of `ids` as what follows `prompt` where nothing was heard.

        The cache is empty afterwards.
        """
        self._empty()
        chances: list[float] = []
        with self.cache.unobserved():
            logits = self.cache.ask(prompt)
            for number, token in enumerate(ids):
                if number:
                    logits = self.cache.append_generated([ids[number - 1]])
                chances.append(float(logits[token]) - log_sum(logits))
        self.cache.clear()
        return chances

    def reply(
        self, prompt: Sequence[int], *, most_tokens: int, chooser: Chooser | None = None
    ) -> Decoded | None:
        """What the LLM answers to `prompt` where nothing else was heard, in fewer than
        `most_tokens`; None if the cache cannot hold both. The cache is empty afterwards.
        """
        self._empty()
        if self.cache.context.free_rows < len(prompt) + most_tokens:
            return None
        guard = LoopGuard(0.0, slack_tokens=most_tokens - 1)
        with self.cache.unobserved():
            logits = self.cache.ask(prompt)
            decoded = greedy(self.cache, self.runtime.model, logits, guard, chooser=chooser)
        self.cache.clear()
        return decoded

    def recite(self, ids: Sequence[int]) -> HeadCache | None:
        """The cache with `ids` in it and nothing else; None if it cannot hold them."""
        self._empty()
        if self.cache.context.free_rows < len(ids):
            return None
        self.cache.append_tokens(ids, Kind.TEXT)
        return self.cache

    def _empty(self) -> None:
        self._forget()
        self._rows = _NO_ROWS
        self.cache.clear()

    def forced(self, sound: Sound, ids: Sequence[int]) -> Iterator[FloatArray]:
        """Logits [V] of what the LLM would write as the first token of the text of `sound`, then
        after each of `ids`, which is written instead. Nothing but the LLM has a say.
        """
        self._forget()
        self._listen(sound.embeddings)
        yield self.cache.finish_prompt(self._after)
        for token in ids:
            yield self.cache.append_generated([token])

    def close_turn(self, heard: Heard) -> bool:
        """Complete the turn in the cache as a conversation goes on: `heard`'s text and the turn's
        end. False, and nothing done, if the cache has heard something else since.
        """
        read = self._read
        if self._held is not heard or read is None:
            return False
        self._forget()
        self._rows = _NO_ROWS
        self.cache.truncate(read.start + self._n_held)
        self.cache.append_tokens(heard.decoded.ids[self._n_held :], Kind.TEXT)
        self.cache.append_tokens(self._end, Kind.PROMPT)
        return True

    def hear(self, samples: FloatArray, *, final: bool = True) -> Sound:
        """What the encoder makes of `samples`, counted by the watch; the words of a `final` text
        are read in order.
        """
        started = time.perf_counter()
        sound = self.runtime.hear(samples, final=final)
        self.watch.encode_s += time.perf_counter() - started
        self.watch.audio_s += len(samples) / self.runtime.encoder.sample_rate_hz
        self.watch.audio_tokens += len(sound)
        return sound
