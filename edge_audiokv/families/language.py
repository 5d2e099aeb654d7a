"""The language model of a checkpoint as a plain architecture of llama.cpp, or why it is none.

Multimodal RoPE counts text and sound alike in all its streams, so that without pictures it is
plain RoPE: with one stream the results are nearer to the reference than with four.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_audiokv.errors import ModelError
from edge_audiokv.families.adapter import Adapter, read_adapter
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.plan import Language
from edge_audiokv.families.split import renamed

PLAIN = {
    "granite": "GraniteForCausalLM",
    "llama": "LlamaForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen2_5_omni_text": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_omni_moe_text": "Qwen3MoeForCausalLM",
}
# Old and new names of checkpoints, the longest first: of a name the first that fits counts.
INSIDE = (
    ("thinker.lm_head.", "lm_head."),
    ("thinker.model.language_model.", "model."),
    ("thinker.model.", "model."),
    ("model.language_model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.model.", "model."),
    ("model.layers.", "model.layers."),
    ("model.embed_tokens.", "model.embed_tokens."),
    ("model.norm.", "model.norm."),
    ("lm_head.", "lm_head."),
)
ALONE = (("model.", "model."), ("lm_head.", "lm_head."))
_GONE = ("mrope_section", "mrope_interleaved")


def plain(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    prefixes: tuple[tuple[str, str], ...] = INSIDE,
    *,
    adapter: Path | None = None,
    most_tokens: int | None = None,
) -> Language:
    """The language model that `config` describes, with the adapter that lies beside its weights, or
    in the folder `adapter`.

    Raises ModelError if it cannot be served, or if the adapter is not one of its.
    """
    kind = str(config.get("model_type"))
    if kind not in PLAIN:
        raise ModelError(
            f"Its language model is a {kind}, which the cache does not serve.",
            cure=f"Take a checkpoint over one of {', '.join(PLAIN)}.",
        )
    if _slides(config):
        raise ModelError(
            "Its language model attends through sliding windows, which the cache does not serve.",
            cure="Take a checkpoint with full attention in every layer.",
        )
    if config.get("quantization_config"):
        raise ModelError(
            "Its weights are quantised already.",
            cure="Take the checkpoint in bfloat16 or float32; --type makes it small.",
        )
    kept = {name: value for name, value in config.items() if name != "architectures"}
    for name in ("rope_parameters", "rope_scaling"):
        if isinstance(kept.get(name), dict):
            rest = {key: value for key, value in kept[name].items() if key not in _GONE}
            kept[name] = rest if rest.get("rope_type", rest.get("type")) != "mrope" else None
    names = checkpoint.under(*(old for old, _ in prefixes))
    if not names:
        raise ModelError(
            f"{checkpoint.folder} holds no language model.",
            cure="Take a whole checkpoint; an Ultravox names its LLM apart: --llm.",
        )
    beside = read_adapter(adapter or checkpoint.folder)
    return Language(
        checkpoint,
        PLAIN[kind],
        {**kept, "architectures": [PLAIN[kind]]},
        prefixes,
        adapter=beside and _fitting(checkpoint, beside, prefixes),
        most_tokens=most_tokens,
    )


def _fitting(
    checkpoint: Checkpoint, adapter: Adapter, prefixes: tuple[tuple[str, str], ...]
) -> Adapter:
    """The adapter under the names of the plain architecture."""
    stored = {
        plain_name: checkpoint.tensors[name].shape
        for name in checkpoint.tensors
        if (plain_name := renamed(name, prefixes)) is not None
    }
    names = {}
    for name, shape in adapter.shapes.items():
        plain_name = renamed(name, prefixes)
        if plain_name is None or stored.get(plain_name) != shape:
            raise ModelError(
                f"The adapter in {checkpoint.folder} is for a {name} that its language model has"
                f" not in the shape {list(shape)}.",
                cure="Download the checkpoint and its adapter again, of one revision.",
            )
        names[name] = plain_name
    return adapter.under(names)


def _slides(config: Mapping[str, Any]) -> bool:
    kinds = config.get("layer_types") or ()
    if "sliding_attention" in kinds:
        return True
    return bool(config.get("sliding_window")) and config.get("use_sliding_window", True) is True
