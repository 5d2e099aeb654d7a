"""The parts that transcription and sessions share: model files, encoder, LLM, prompt and ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from edge_audiokv.encoder.base import Encoder
from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.engine.prompt import PromptTemplate
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import ModelError
from edge_audiokv.kv.memory import Ledger, MemoryPlan, plan_memory, rss_bytes
from edge_audiokv.kv.shape import IntArray, KVShape
from edge_audiokv.models import catalog, download
from edge_audiokv.models.download import LocalModel, Progress
from edge_audiokv.native.model import Model

# Before loading, sizes are estimated from files: onnxruntime unpacks f16 weights to f32, and the
# attention of the longest window grows with its square (measured: 62 MB at 15 s, 180 MB at 30 s).
_ENCODER_UNPACKED = 2.4
_ENCODER_WINDOW_BYTES_30_S = 180 << 20
# llama.cpp's buffers for one graph, its vocabulary and its tables; measured 30-45 MB.
_GRAPH_BYTES = 48 << 20

T = TypeVar("T")


class Runtime:
    """A loaded model: encoder, LLM and prompt. `load()` does the work, `close()` may be repeated.

    `max_window_s` is the longest audio that is encoded at once; it decides the encoder's peak.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        max_window_s: float = 30.0,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings
        self.max_window_s = max_window_s
        self._progress = progress
        self._local: LocalModel | None = None
        self._encoder: Encoder | None = None
        self._model: Model | None = None
        self._template: PromptTemplate | None = None
        self.ledger = Ledger(0)
        self.plan: MemoryPlan | None = None

    def load(self, *, kv_min_bytes: int = 0) -> Self:
        """Find, verify and load everything.

        `kv_min_bytes` is the smallest cache that the caller can work with. Raises ModelError,
        DownloadError, or MemoryBudgetError before anything large is touched.
        """
        if self._model is not None:
            return self
        settings = self.settings
        self.ledger = Ledger(settings.cap_bytes)
        entry = catalog.resolve(settings.model)
        local = download.ensure(entry, progress=self._progress)
        base_bytes = rss_bytes()
        # Refuse on the estimate, before seconds and memory are spent.
        self.plan = plan_memory(
            settings.cap_bytes,
            {"interpreter": base_bytes, **self._estimate(local)},
            kv_min_bytes=kv_min_bytes,
            kv_max_bytes=settings.cap_bytes,
        )
        try:
            self._template = PromptTemplate.parse(
                entry.prompt.template,
                end_of_turn=entry.prompt.end_of_turn,
                question=entry.prompt.question,
            )
            self._encoder = encoder = OnnxEncoder(
                local.encoder_path,
                d_model=entry.d_model,
                sample_rate_hz=entry.sample_rate_hz,
                tokens_per_second=entry.tokens_per_second,
                max_window_s=min(self.max_window_s, entry.max_audio_s),
                threads=settings.n_threads,
                provider=settings.provider,
            ).load()
            gguf_path, lora_path = local.llm_paths
            self._model = model = Model(gguf_path, lora=lora_path).load()
        except BaseException:
            self.close()
            raise
        if model.n_embd != encoder.d_model:
            width = model.n_embd
            self.close()
            raise ModelError(
                f"the encoder gives embeddings of width {encoder.d_model}, the LLM takes {width}.",
                cure="Use the encoder and GGUF of one catalog entry.",
            )
        self._local = local
        self.ledger.add("interpreter", lambda: base_bytes)
        self.ledger.add("encoder", lambda: encoder.nbytes)
        self.ledger.add("weights", lambda: model.nbytes)
        return self

    @property
    def row_shape(self) -> KVShape:
        """The cache's shape with the row types of the settings."""
        settings = self.settings
        return replace(self.model.shape, type_k=settings.type_k, type_v=settings.type_v)

    def make_plan(
        self, others: Mapping[str, int], *, kv_min_bytes: int, kv_max_bytes: int
    ) -> MemoryPlan:
        """Give the cache what the cap leaves beside all that is loaded and `others`.

        Raises MemoryBudgetError with the sum and the smallest cap that works.
        """
        self.plan = plan_memory(
            self.settings.cap_bytes,
            {**self.ledger.parts(), **others},
            kv_min_bytes=kv_min_bytes,
            kv_max_bytes=max(kv_min_bytes, kv_max_bytes),
        )
        return self.plan

    def check_fits(self, capacity: IntArray, others: Mapping[str, int]) -> MemoryPlan:
        """Does a cache of `capacity` [L, H] rows fit beside what is loaded and `others`?

        Raises MemoryBudgetError with the sum and the smallest cap that works.
        """
        pool_bytes = int(capacity.sum()) * self.row_shape.row_bytes
        return self.make_plan(
            {**others, "compute": _GRAPH_BYTES}, kv_min_bytes=pool_bytes, kv_max_bytes=pool_bytes
        )

    def close(self) -> None:
        """Give everything back."""
        if self._model is not None:
            self._model.close()
        if self._encoder is not None:
            self._encoder.close()
        self._model = self._encoder = self._local = None

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
    def template(self) -> PromptTemplate:
        return _loaded(self._template)

    def _estimate(self, local: LocalModel) -> dict[str, int]:
        window = (min(self.max_window_s, local.entry.max_audio_s) / 30.0) ** 2
        return {
            "weights": sum(_size_bytes(path) for path in local.llm_paths),
            "encoder": int(
                _size_bytes(local.encoder_path) * _ENCODER_UNPACKED
                + _ENCODER_WINDOW_BYTES_30_S * window
            ),
            "compute": _GRAPH_BYTES,
        }

    def __enter__(self) -> Self:
        return self.load()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _size_bytes(path: Path | None) -> int:
    return path.stat().st_size if path is not None else 0


def _loaded(part: T | None) -> T:
    if part is None:
        raise ModelError("the model is not loaded.", cure="Call load() first.")
    return part
