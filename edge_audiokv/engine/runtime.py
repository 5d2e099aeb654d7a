"""The parts that transcription and sessions share: model files, encoder, LLM, prompt and ledger."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Self, TypeVar

from edge_audiokv.encoder.base import Encoder
from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.encoder.reader import WhisperReader
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.encoder.weave import OrderedWords
from edge_audiokv.engine.decoding.choose import Trust, WordsHeard
from edge_audiokv.engine.finals.language import check_language, check_translation
from edge_audiokv.engine.memory.estimate import (
    context_bytes_of,
    llm_bytes,
    model_parts,
    reader_bytes,
)
from edge_audiokv.engine.memory.heap import bound_heap
from edge_audiokv.engine.offload import Offload, offload_of
from edge_audiokv.engine.prompt import PromptTemplate, digit_rows
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.engine.trial import try_files
from edge_audiokv.errors import InputError, MemoryBudgetError, ModelError
from edge_audiokv.kv.holders import Holding
from edge_audiokv.kv.memory import INTERPRETER, Ledger, MemoryPlan, plan_memory, rss_bytes
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape
from edge_audiokv.lifetime import Loadable
from edge_audiokv.models import catalog, download
from edge_audiokv.models.download import LocalModel, Progress
from edge_audiokv.native.model import Model
from edge_audiokv.native.probe import check_in_child

T = TypeVar("T")


class Runtime(Loadable):
    """A loaded model: encoder, LLM and prompt. `load()` does the work, `close()` may be repeated.

    `max_window_s` is the longest audio that is encoded at once; it decides the encoder's peak.
    `owner` is what others of the process call it that count its memory. `local` are the files to
    load instead of those that the settings name.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        max_window_s: float = 30.0,
        progress: Progress | None = None,
        owner: str = "engine",
        local: LocalModel | None = None,
    ) -> None:
        self.settings = settings
        self.max_window_s = max_window_s
        self._progress = progress
        self._local = local
        self._encoder: Encoder | None = None
        self._model: Model | None = None
        self._template: PromptTemplate | None = None
        self._hearing = threading.Lock()
        self._reads = False
        self._reads_from_bytes: int | None = None
        self._reader: WhisperReader | None = None
        self._ordered: OrderedWords | None = None
        self._words_heard: WordsHeard | None = None
        self._offload: Offload | None = None
        self.holding = Holding(owner)
        self.ledger = Ledger(0, self.holding)
        self.plan: MemoryPlan | None = None

    def find(self) -> LocalModel:
        """Find or fetch the model's files and verify them. Nothing large is loaded.

        Raises ModelError, also for a language that the model does not know or translate to,
        InputError for hotwords that nothing takes, or DownloadError.
        """
        if self._local is None:
            entry = catalog.resolve(self.settings.model)
            settings = self.settings
            check_language(settings.language, entry)
            check_translation(settings.translate, settings.language, entry)
            local = download.ensure(entry, progress=self._progress, check=check_in_child)
            told = entry.prompt.takes_hotwords
            if self.settings.hotwords and not (told or self._may_read(local)):
                raise InputError(
                    f"Nothing reads hotwords in {entry.name}.",
                    cure="Leave hotwords= out, or take a model that has a reader, and words that"
                    " count (word_weight).",
                )
            self._local = local
        return self._local

    @property
    def offload(self) -> Offload:
        """What of the LLM lies on a device. Raises as `find` does, or NativeError."""
        if self._offload is None:
            self._offload = offload_of(self.settings, self.find().gguf)
        return self._offload

    def load(
        self,
        *,
        others: Mapping[str, int] | None = None,
        device_others: Mapping[str, int] | None = None,
        kv_min_bytes: int = 0,
        table_share: float = 0.0,
    ) -> Self:
        """Find, verify and load everything.

        `others` are parts that the caller will add, `device_others` those in a device's own memory,
        `kv_min_bytes` the smallest cache that it can work with (see `plan_memory`). Raises
        ModelError, DownloadError, NativeError without the device that is asked for, or
        MemoryBudgetError before anything large is touched.
        """
        if self._model is not None:
            return self
        settings = self.settings
        bound_heap()
        local = self.find()
        entry = local.entry
        # What a driver takes for being asked counts as the interpreter's, too.
        offload = self.offload
        _import_all()
        # In a process of its own, before this one is full.
        try_files(local)
        holding = self.holding
        base_bytes = holding.shared_bytes(rss_bytes())
        self.ledger = Ledger(settings.cap_bytes, holding)
        self.ledger.add(INTERPRETER, lambda: base_bytes)
        # Refuse on the estimate, before seconds and memory are spent.
        parts = {
            INTERPRETER: base_bytes,
            **holding.others(),
            **model_parts(local, min(self.max_window_s, entry.max_audio_s), offload.host_share),
            **(others if others is not None else {"compute": context_bytes_of(local)}),
        }

        there_bytes = int(llm_bytes(local) * offload.device_share)
        device_parts = {
            "weights": there_bytes,
            "compute": context_bytes_of(local),
            **(device_others or {}),
        }

        def plan(reader_bytes: int) -> MemoryPlan:
            """As much as a reader takes must be left for a cache beside it."""
            device = offload.share(device_parts)
            beside = device is None or not device.takes_cache
            least_bytes = kv_min_bytes + reader_bytes * beside
            return plan_memory(
                settings.cap_bytes,
                {**parts, "encoder": parts["encoder"] + reader_bytes},
                kv_min_bytes=least_bytes,
                kv_max_bytes=max(least_bytes, settings.cap_bytes),
                table_share=table_share,
                others=holding.other_engines(),
                device=device,
            )

        self._reads = self._may_read(local)
        try:
            self.plan = plan(reader_bytes(local) if self._reads else 0)
        except MemoryBudgetError as error:
            if not self._reads:
                raise
            # What is asked of memory comes before what it costs in words.
            self._reads, self._reads_from_bytes = False, error.required_bytes
            self.plan = plan(0)
        try:
            self._template = PromptTemplate.of(
                entry.prompt,
                language=settings.language,
                translate=settings.translate,
                hotwords=settings.hotwords,
            )
            self._encoder = encoder = OnnxEncoder(
                local.encoder_path,
                d_model=entry.d_model,
                rule=entry.rule,
                max_window_s=min(self.max_window_s, entry.max_audio_s),
                threads=settings.n_threads,
                provider=settings.provider,
            )
            with self.ledger.measured("encoder", lambda: encoder.later_bytes):
                # The reader first: opening it needs more for a moment than it keeps, and what its
                # longest window took is there for the encoder's.
                reader = self._open_reader(local)
                encoder.load()
                if reader is not None and encoder.words:
                    self._ordered = OrderedWords(reader, encoder.words, share=entry.read_share)
            with self.ledger.measured("weights"):
                gguf_path, lora_path = local.llm_paths
                self._model = model = Model(
                    gguf_path,
                    lora=lora_path,
                    n_gpu_layers=offload.n_layers,
                    device=offload.device,
                    answer_after=self._template.answer_after,
                    answer_tags=entry.prompt.answer_tags,
                ).load()
                if offload.is_apart:
                    self.ledger.add_on_device("weights", lambda: model.device_nbytes)
                self._template.check_length(model)
                encoder.digits = digit_rows(entry.rule, model, gguf_path)
                own, words = settings.word_weight, self._ordered
                self._words_heard = WordsHeard(
                    encoder.words if words is None else words.words,
                    model,
                    weight=entry.word_weight if own is None else own,
                    floor=entry.word_floor,
                    ordered=Trust(entry.read_weight if own is None else own, entry.read_floor),
                    branches=settings.branches,
                )
        except BaseException:
            self.close()
            raise
        if model.n_embd != encoder.d_model:
            width = model.n_embd
            self.close()
            raise ModelError(
                f"The encoder gives embeddings of width {encoder.d_model}, the LLM takes {width}.",
                cure="Use the encoder and GGUF of one catalog entry.",
            )
        return self

    @property
    def reads_from_bytes(self) -> int | None:
        """The cap from which the model's reader is used; None if it is, or if it has none."""
        return self._reads_from_bytes

    def _may_read(self, local: LocalModel) -> bool:
        """Does the model have a reader whose words are to count?"""
        return bool(local.reader_paths) and self.settings.word_weight != 0

    def _open_reader(self, local: LocalModel) -> WhisperReader | None:
        if not self._reads or local.reader_paths is None:
            return None
        entry, settings = local.entry, self.settings
        self._reader = reader = WhisperReader(
            *local.reader_paths, threads=settings.n_threads, provider=settings.provider
        ).load()
        reader.expect(settings.hotwords)
        reader.warm_up(int(min(self.max_window_s, entry.max_audio_s) * entry.rule.sample_rate_hz))
        return reader

    def hear(self, samples: FloatArray, *, final: bool) -> Sound:
        """What encoder and reader make of `samples` [S]; a text that is not `final` is not worth
        reading. One thread at a time: memory for one window is what is counted.
        """
        with self._hearing, self.model.callers:
            sound = self.encoder.hear(samples)
            if self._ordered is None or not final:
                return sound
            return self._ordered.amend(samples, sound)

    @property
    def reader(self) -> WhisperReader | None:
        """What reads a final text once more, if the model has one and `mem` left room for it."""
        return self._reader

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary that the words of `hear` point into."""
        return self.encoder.words if self._ordered is None else self._ordered.words

    @property
    def row_shape(self) -> KVShape:
        """The cache's shape with the row types of the settings."""
        settings = self.settings
        return replace(self.model.shape, type_k=settings.type_k, type_v=settings.type_v)

    def make_plan(
        self,
        others: Mapping[str, int],
        *,
        kv_min_bytes: int,
        kv_max_bytes: int,
        table_share: float = 0.0,
        device_others: Mapping[str, int] | None = None,
    ) -> MemoryPlan:
        """Give the cache what the cap leaves beside all that is loaded and `others`; on a device
        with memory of its own, beside `device_others`.

        Raises MemoryBudgetError with the sum and the smallest cap that works.
        """
        self.plan = plan_memory(
            self.settings.cap_bytes,
            {**self.ledger.parts(), **others},
            kv_min_bytes=kv_min_bytes,
            kv_max_bytes=max(kv_min_bytes, kv_max_bytes),
            table_share=table_share,
            others=self.holding.other_engines(),
            device=self.offload.share({**self.ledger.device_parts(), **(device_others or {})}),
        )
        return self.plan

    def check_fits(self, capacity: IntArray, others: Mapping[str, int]) -> MemoryPlan:
        """Does a cache of `capacity` [L, H] rows fit beside what is loaded and `others`?

        Raises MemoryBudgetError with the sum and the smallest cap that works.
        """
        pool_bytes = int(capacity.sum()) * self.row_shape.row_bytes
        compute = {"compute": context_bytes_of(self.find())}
        return self.make_plan(
            {**others, **compute},
            kv_min_bytes=pool_bytes,
            kv_max_bytes=pool_bytes,
            device_others=compute,
        )

    def close(self) -> None:
        """Give everything back."""
        self.holding.release()
        if self._model is not None:
            self._model.close()
        if self._encoder is not None:
            self._encoder.close()
        if self._reader is not None:
            self._reader.close()
        self._model = self._encoder = self._local = self._words_heard = None
        self._reader = self._ordered = self._offload = None

    @property
    def local(self) -> LocalModel:
        return _loaded(self._local)

    @property
    def encoder(self) -> Encoder:
        return _loaded(self._encoder)

    @property
    def model(self) -> Model:
        return _loaded(self._model)

    @property
    def words_heard(self) -> WordsHeard:
        return _loaded(self._words_heard)

    @property
    def template(self) -> PromptTemplate:
        return _loaded(self._template)


def _import_all() -> None:
    """Import what a session uses anyway, so that it counts as the interpreter's."""
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    from edge_audiokv.kv.policy import policies
    from edge_audiokv.native import library

    policies()
    library.load()


def _loaded(part: T | None) -> T:
    if part is None:
        raise ModelError("The model is not loaded.", cure="Call load() first.")
    return part
