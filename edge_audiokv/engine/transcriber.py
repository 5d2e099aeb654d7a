"""Recordings of any length to text: cut into segments, each decoded in a fresh context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Self, Unpack

from edge_audiokv.audio.endpoint import EndpointConfig, Segment, segments
from edge_audiokv.audio.sound import Sound, as_source
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource
from edge_audiokv.audio.vad import VoiceDetector
from edge_audiokv.engine.cache import (
    HeadCache,
    clip_capacity,
    open_cache,
    policy_of,
)
from edge_audiokv.engine.decoding.decode import DRAFT_TOKENS
from edge_audiokv.engine.decoding.guard import most_tokens
from edge_audiokv.engine.finals.finals import Finals
from edge_audiokv.engine.memory.counting import count_caches
from edge_audiokv.engine.memory.estimate import context_bytes_of, shape_of
from edge_audiokv.engine.recognizer import Recognizer, Stopwatch
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.session_settings import EngineOptions, check_names
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.events import Final
from edge_audiokv.kv.holders import LOADING
from edge_audiokv.lifetime import Loadable
from edge_audiokv.models.download import LocalModel, Progress

# The voice detector before it is loaded.
_DETECTOR_BYTES = 10 << 20


class Transcriber(Loadable):
    """Turns sound sources into `Final` events.

        with Transcriber(mem="1GB", kv_share=0.4) as transcriber:
            for final in transcriber.transcribe("talk.flac"):
                print(final.start_s, final.text)

    Settings come as a record or, field by field, as keywords; `local` are the files to load, until
    `close`, instead of those of the model that they name. The constructor touches nothing. Any
    thread may call: segments of several recordings are then decoded in turn, and `close` waits for
    the one in progress.
    """

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        endpoint: EndpointConfig | None = None,
        progress: Progress | None = None,
        local: LocalModel | None = None,
        **options: Unpack[EngineOptions],
    ) -> None:
        check_names("Transcriber", options, {item.name for item in fields(EngineSettings)})
        given: Mapping[str, Any] = options
        self.settings = replace(settings or EngineSettings(), **given)
        self.endpoint = endpoint or EndpointConfig()
        self.runtime = Runtime(
            self.settings,
            max_window_s=self.endpoint.max_segment_s,
            progress=progress,
            owner="transcriber",
            local=local,
        )
        self._detector = VoiceDetector()
        self._cache: HeadCache | None = None
        self._recognizer: Recognizer | None = None
        self._lock = threading.RLock()

    def load(self) -> Self:
        """Load model, encoder and voice detector, and allocate the cache.

        Raises ModelError, DownloadError, PolicyError, or MemoryBudgetError with the sum.
        """
        with self._lock:
            if self._recognizer is None:
                with LOADING:
                    self._load()
        return self

    def _load(self) -> None:
        runtime = self.runtime
        local = runtime.find()
        # A wrong policy, or a cap that cannot hold all of it, is told before anything is read.
        policy = policy_of(runtime)
        seconds = self.endpoint.max_segment_s
        audio_tokens = local.entry.rule.rows_in(seconds) + 1
        prompt_tokens = audio_tokens + local.entry.prompt.max_tokens
        text_tokens = most_tokens(seconds, local.entry.prompt.answer_tags)
        capacity = clip_capacity(
            runtime, policy, prompt_tokens=prompt_tokens, text_tokens=text_tokens
        )
        settings = self.settings
        shape = replace(shape_of(local), type_k=settings.type_k, type_v=settings.type_v)
        runtime.load(
            others={"voice detector": _DETECTOR_BYTES, "compute": context_bytes_of(local)},
            kv_min_bytes=int(capacity.sum()) * shape.row_bytes,
        )
        try:
            self._detector.load()
            runtime.check_fits(capacity, {"voice detector": self._detector.nbytes})
            self._cache = cache = open_cache(
                runtime,
                capacity,
                policy,
                max_tokens=prompt_tokens + text_tokens,
                # What was read is a draft of the text.
                n_outputs=DRAFT_TOKENS if runtime.reader is not None else 1,
            )
            runtime.ledger.add("voice detector", lambda: self._detector.nbytes)
            count_caches(
                runtime.ledger, [cache], lambda: cache.nbytes - cache.context.host_pool_nbytes
            )
            self._recognizer = Recognizer(runtime, self._cache)
            runtime.ledger.settle()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give all back, once the segment in progress is done. Closing twice does nothing."""
        with self._lock:
            if self._cache is not None:
                self._cache.close()
            self._detector.close()
            self.runtime.close()
            self._cache = self._recognizer = None

    @property
    def cache(self) -> HeadCache:
        self.load()
        if self._cache is None:
            raise RuntimeError("load() left no cache")
        return self._cache

    @property
    def watch(self) -> Stopwatch:
        """Times and counts since `load()`."""
        return self.recognizer.watch

    @property
    def recognizer(self) -> Recognizer:
        self.load()
        if self._recognizer is None:
            raise RuntimeError("load() left no recognizer")
        return self._recognizer

    def transcribe(
        self,
        source: Sound,
        *,
        rate_hz: int = SAMPLE_RATE_HZ,
        on_segment: Callable[[Segment], None] | None = None,
        on_text: Callable[[str], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> Iterator[Final]:
        """One `Final` for each stretch of speech, in order, as soon as it is decoded.

        `source` is a path, an open file that can seek, an open source, or sound in the forms that
        `Session.feed` takes, at `rate_hz`. `on_segment` sees each segment before it is decoded,
        `on_text` the growing text, `on_warning` what a person should know of the sound. Raises
        InputError if the source cannot be read.
        """
        if not isinstance(source, AudioSource):
            with as_source(source, rate_hz) as opened:
                yield from self.transcribe(
                    opened, on_segment=on_segment, on_text=on_text, on_warning=on_warning
                )
            return
        recognizer = self.recognizer
        finals = Finals(self.runtime, recognizer)
        # A stream has its own memory of what it heard; two may be read in turn.
        for segment in segments(source, self._detector.twin(), self.endpoint):
            if on_segment is not None:
                on_segment(segment)
            with self._lock:
                heard = recognizer.recognize(segment.samples, on_text=on_text)
            text, flags = heard.decoded.text, heard.decoded.flags
            final = Final(segment.id, segment.start_s, segment.end_s, text, flags)
            yield finals.tell(final, heard)
            for warning in finals.take_warnings():
                if on_warning is not None:
                    on_warning(warning)
