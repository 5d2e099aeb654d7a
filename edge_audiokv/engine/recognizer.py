"""One stretch of speech to text in a fresh context: encode, prefill, evict, decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.alignment.attention import Watcher
from edge_audiokv.engine.cache import HeadCache
from edge_audiokv.engine.choose import Chooser, log_sum
from edge_audiokv.engine.decode import Decoded, greedy, text_of
from edge_audiokv.engine.guard import LoopGuard
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.search import Search
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


class Recognizer:
    """Transcribes segments one by one; the cache is cleared before each."""

    def __init__(self, runtime: Runtime, cache: HeadCache) -> None:
        self.runtime = runtime
        self.cache = cache
        self.watch = Stopwatch()
        self._before = runtime.template.before_ids(runtime.model)
        self._after = runtime.template.after_ids(runtime.model)
        self._end = runtime.template.end_ids(runtime.model)
        # What the cache holds: a hearing, and how many tokens of its text.
        self._held: Heard | None = None
        self._start = self._n_held = 0

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
        return self.read(self.hear(samples), duration_s, draft=draft, final=final, on_text=on_text)

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
        runtime, watch, cache = self.runtime, self.watch, self.cache
        started = time.perf_counter()
        self._held = None
        logits = self._prefill(sound)
        prefilled = time.perf_counter()

        def tell(ids: Sequence[int]) -> None:
            if on_text is not None:
                on_text(text_of(runtime.model, ids).strip())

        def guard() -> LoopGuard:
            return LoopGuard(duration_s)

        def decode(chooser: Chooser, draft: Sequence[int] = ()) -> Decoded:
            decoded = greedy(
                cache, runtime.model, logits, guard(), on_token=tell, draft=draft, chooser=chooser
            )
            search = Search(cache, runtime.model, start, guard)
            best = search.better(decoded, chooser) if final else decoded
            n_kept = search.n_kept(best) if final else len(best.ids)
            # What a guard has cut off was not all written.
            self._n_held = min(n_kept, cache.next_position - start)
            return best

        start, heard = cache.next_position, runtime.words_heard
        decoded = decode(heard.chooser(sound), draft)
        strict = heard.strict(sound) if decoded.flags else None
        if strict is not None:
            cache.truncate(start)
            again = decode(strict)
            watch.flags["retried"] = watch.flags.get("retried", 0) + 1
            self._n_held = 0 if again.flags else self._n_held
            decoded = decoded if again.flags else again
        watch.prefill_s += prefilled - started
        watch.decode_s += time.perf_counter() - prefilled
        watch.text_tokens += decoded.n_generated
        for flag in decoded.flags:
            watch.flags[flag] = watch.flags.get(flag, 0) + 1
        self._held, self._start = Heard(decoded, sound), start
        return self._held

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
        if self._held is not heard:
            self._held = None
            self._prefill(heard.sound)
            self._start = self.cache.next_position
        # A token is chosen by the one before it: the first by the prompt's last.
        self.cache.truncate(self._start - 1)
        seen = self.cache.read_back([self._after[-1], *ids[:-1]])
        for token, (logits, scores, positions) in zip(ids, seen, strict=True):
            watcher.look(scores, positions)
            chances.append(float(np.exp(logits[token] - log_sum(logits))))
        self._n_held = len(ids) - 1
        return watcher.attention(), chances

    def _prefill(self, sound: Sound) -> FloatArray:
        """The prompt around `sound`, and nothing else, in the cache; logits [V] after it."""
        self.cache.clear()
        self.cache.append_tokens(self._before, Kind.PROMPT)
        self.cache.append_embeddings(sound.embeddings)
        return self.cache.finish_prompt(self._after)

    def close_turn(self, heard: Heard) -> bool:
        """Complete the turn in the cache as a conversation goes on: `heard`'s text and the turn's
        end. False, and nothing done, if the cache has heard something else since.
        """
        if self._held is not heard:
            return False
        self._held = None
        self.cache.truncate(self._start + self._n_held)
        self.cache.append_tokens(heard.decoded.ids[self._n_held :], Kind.TEXT)
        self.cache.append_tokens(self._end, Kind.PROMPT)
        return True

    def hear(self, samples: FloatArray) -> Sound:
        """What the encoder makes of `samples`, counted by the watch."""
        started = time.perf_counter()
        sound = self.runtime.encoder.hear(samples)
        self.watch.encode_s += time.perf_counter() - started
        self.watch.audio_s += len(samples) / self.runtime.encoder.sample_rate_hz
        self.watch.audio_tokens += len(sound)
        return sound
