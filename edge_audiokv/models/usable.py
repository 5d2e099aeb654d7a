"""Refuse, with the reason, what is known to end a process once llama.cpp loads or uses the file.

These are the assertions of llama.cpp that metadata alone decides. Those that are not known yet are
what `native/probe.py` tries in a child for; here a person reads why.
"""

from __future__ import annotations

from ..errors import ModelError
from .gguf import GGUFHeader

MAX_EXPERTS = 512  # llama.cpp's own bound
# A lone expert counts as none there.
_ONE_EXPERT_IS_NONE = ("hunyuan-dense", "hunyuan_vl", "hunyuan-vl")
# Their graphs rotate whole heads.
_ROTATES_WHOLE_HEADS = ("qwen2", "qwen2moe", "qwen3", "qwen3moe")
# BOS and SEP of a vocabulary that names none.
_DEFAULT_IDS = {"llama": {"bos": 1}, "gpt2": {"bos": 11}, "bert": {"seperator": 102}}


def check_usable(header: GGUFHeader) -> None:
    """Raise ModelError, one line, for metadata on which llama.cpp ends the process.

    Vocabularies that lack bytes are seen only in headers read with `check_tokens`.
    """
    if header.is_adapter:
        return
    _check_experts(header)
    _check_rotation(header)
    _check_vocabulary(header)


def _check_experts(header: GGUFHeader) -> None:
    arch = header.architecture
    there = _number(header, f"{arch}.expert_count")
    used = _number(header, f"{arch}.expert_used_count")
    if arch in _ONE_EXPERT_IS_NONE and there <= 1:
        return
    if not 0 <= there <= MAX_EXPERTS:
        raise _unusable(header, f"it names {there} experts")
    if used > there or (used == 0) != (there == 0):
        raise _unusable(header, f"it uses {used} experts and has {there}")


def _check_rotation(header: GGUFHeader) -> None:
    arch = header.architecture
    size = _number(header, f"{arch}.rope.dimension_count")
    if arch in _ROTATES_WHOLE_HEADS and size and size != header.head_dim:
        raise _unusable(
            header, f"{arch}.rope.dimension_count is {size}, and its heads are {header.head_dim}"
        )


def _check_vocabulary(header: GGUFHeader) -> None:
    kind = header.keys.get("tokenizer.ggml.model")
    if kind in ("no_vocab", "none"):
        raise _unusable(header, "it has no vocabulary")
    if kind == "llama" and header.missing_bytes:
        raise _unusable(header, f"its vocabulary lacks {header.missing_bytes} bytes of UTF-8")
    if not isinstance(kind, str) or kind not in _DEFAULT_IDS:
        return
    for what, adds in (("bos", "add_bos_token"), ("seperator", "add_sep_token")):
        # Only texts of the kind bert are joined with a separator.
        if (what == "seperator" and kind != "bert") or (what == "bos" and kind == "bert"):
            continue
        if header.keys.get(f"tokenizer.ggml.{adds}") is not True:
            continue
        ids = (header.keys.get(f"tokenizer.ggml.{what}_token_id"), _DEFAULT_IDS[kind][what])
        if not any(isinstance(i, int) and 0 <= i < header.vocabulary_length for i in ids):
            raise _unusable(header, f"{adds} is set, and no such token is there")


def _number(header: GGUFHeader, key: str) -> int:
    """The value, or the largest of a layer; 0 where there is none."""
    value = header.keys.get(key, 0)
    if isinstance(value, list):
        value = max((item for item in value if isinstance(item, int)), default=0)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _unusable(header: GGUFHeader, why: str) -> ModelError:
    return ModelError(
        f"{header.path} cannot be used: {why}.",
        cure="Fetch it again, or take another GGUF file.",
    )
