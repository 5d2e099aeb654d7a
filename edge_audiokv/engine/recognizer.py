"""One stretch of speech to text in a fresh context: encode, prefill, evict, decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.cache import HeadCache
from edge_audiokv.engine.choose import Chooser
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
        runtime, watch, cache = self.runtime, self.watch, self.cache
        duration_s = len(samples) / runtime.encoder.sample_rate_hz
        sound = self.hear(samples)
        encoded = time.perf_counter()
        cache.clear()
        cache.append_tokens(self._before, Kind.PROMPT)
        cache.append_embeddings(sound.embeddings)
        logits = cache.finish_prompt(self._after)
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
            if not final:
                return decoded
            return Search(cache, runtime.model, start, guard).better(decoded, chooser)

        start, heard = cache.next_position, runtime.words_heard
        decoded = decode(heard.chooser(sound), draft)
        strict = heard.strict(sound) if decoded.flags else None
        if strict is not None:
            cache.truncate(start)
            again = decode(strict)
            watch.flags["retried"] = watch.flags.get("retried", 0) + 1
            decoded = decoded if again.flags else again
        watch.prefill_s += prefilled - encoded
        watch.decode_s += time.perf_counter() - prefilled
        watch.text_tokens += decoded.n_generated
        for flag in decoded.flags:
            watch.flags[flag] = watch.flags.get(flag, 0) + 1
        return Heard(decoded, sound)

    def hear(self, samples: FloatArray) -> Sound:
        """What the encoder makes of `samples`, counted by the watch."""
        started = time.perf_counter()
        sound = self.runtime.encoder.hear(samples)
        self.watch.encode_s += time.perf_counter() - started
        self.watch.audio_s += len(samples) / self.runtime.encoder.sample_rate_hz
        self.watch.audio_tokens += len(sound)
        return sound
