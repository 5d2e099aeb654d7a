"""The loaded parts of a model for measurements below the engine: encoder, LLM, prompt ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.encoder.base import Encoder
from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.engine.prompt import PromptTemplate, digit_rows
from edge_audiokv.engine.trial import try_files
from edge_audiokv.models import catalog, download
from edge_audiokv.models.download import LocalModel
from edge_audiokv.native.model import Model
from edge_audiokv.native.probe import check_in_child


@dataclass
class Parts:
    """Encoder and LLM, loaded; token ids before and after the audio."""

    local: LocalModel
    encoder: Encoder
    model: Model
    before: list[int]
    after: list[int]
    prompt: PromptTemplate

    def after_ids(self, question: str) -> list[int]:
        """Token ids of a question after the audio and the opening of the answer."""
        return self.prompt.after_ids(self.model, question)

    def close(self) -> None:
        self.encoder.close()
        self.model.close()


def load_parts(name: str | Path, *, question: str | None = None) -> Parts:
    """Find, verify and load the model `name` (catalog entry or directory). Raises ModelError."""
    local = download.ensure(catalog.resolve(name), check=check_in_child)
    try_files(local)
    entry = local.entry
    encoder = OnnxEncoder(
        local.encoder_path,
        d_model=entry.d_model,
        rule=entry.rule,
        max_window_s=entry.max_audio_s,
    ).load()
    gguf_path, lora_path = local.llm_paths
    stated = entry.prompt
    model = Model(
        gguf_path,
        lora=lora_path,
        answer_after=stated.answer_after,
        answer_tags=stated.answer_tags,
    ).load()
    prompt = PromptTemplate.of(entry.prompt)
    encoder.digits = digit_rows(entry.rule, model, gguf_path)
    before, after = prompt.before_ids(model), prompt.after_ids(model, question)
    return Parts(local, encoder, model, before, after, prompt)
