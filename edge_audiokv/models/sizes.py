"""Sizes of public audio LLMs, for planning before anything is fetched or converted.

From their configurations; `llm_bytes` at Q4_K_M (4.85 bits a weight in the layers) and
`encoder_bytes` at int8, with the activations of one window, are estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_audiokv.models.token_rule import TokenRule

_WINDOW_BYTES = 250_000_000


@dataclass(frozen=True)
class PublicModel:
    """Bytes, and the cache: `n_kv_head` KV heads a layer, each for `n_group` query heads."""

    name: str
    llm_bytes: int
    encoder_bytes: int
    n_layer: int
    n_kv_head: int
    n_group: int
    head_dim: int
    rule: TokenRule
    context_length_tokens: int


def _model(
    name: str,
    llm_gb: float,
    encoder_gb: float,
    shape: tuple[int, int, int, int],
    rule: TokenRule,
    context: int,
) -> PublicModel:
    encoder_bytes = int(encoder_gb * 1e9) + _WINDOW_BYTES
    return PublicModel(name, int(llm_gb * 1e9), encoder_bytes, *shape, rule, context)


_QWEN3_ASR = TokenRule(tokens_per_second=13, kind="blocks", block_s=1, chunk_s=8)
_EVERY_40_MS, _EVERY_80_MS = TokenRule(tokens_per_second=25), TokenRule(tokens_per_second=12.5)
_ULTRAVOX = TokenRule(tokens_per_second=6.25)
_GRANITE = TokenRule(tokens_per_second=10, kind="blocks", block_s=0.3)
_VOXTRAL = TokenRule(tokens_per_second=12.5, kind="windows", block_s=30)

PUBLIC_MODELS = (
    _model("Qwen3-ASR 0.6B", 0.39, 0.19, (28, 8, 2, 128), _QWEN3_ASR, 65_536),
    _model("Qwen3-ASR 1.7B", 1.11, 0.33, (28, 8, 2, 128), _QWEN3_ASR, 65_536),
    _model("Ultravox Llama-3.2-1B", 0.81, 0.68, (16, 8, 4, 64), _ULTRAVOX, 131_072),
    _model("GLM-ASR Nano", 0.92, 0.68, (28, 4, 4, 128), _EVERY_80_MS, 8_192),
    _model("Granite-Speech 3.3-2b", 1.56, 0.48, (40, 8, 4, 64), _GRANITE, 131_072),
    _model("Qwen2.5-Omni 3B", 1.94, 0.66, (36, 2, 8, 128), _EVERY_40_MS, 32_768),
    _model("Voxtral Mini 3B", 2.50, 0.68, (30, 8, 4, 128), _VOXTRAL, 131_072),
    _model("Phi-4-multimodal", 2.46, 0.46, (32, 8, 3, 128), _EVERY_80_MS, 4_096),
    _model("Qwen2.5-Omni 7B", 4.71, 0.66, (28, 4, 7, 128), _EVERY_40_MS, 32_768),
    _model("Audio Flamingo 3", 4.71, 0.68, (28, 4, 7, 128), _EVERY_40_MS, 32_768),
    _model("Qwen2-Audio 7B", 4.81, 0.66, (32, 32, 1, 128), _EVERY_40_MS, 8_192),
    _model("Ultravox Llama-3.1-8B", 4.96, 0.71, (32, 8, 4, 128), _ULTRAVOX, 131_072),
)
