"""What a model will take before it is loaded, from its files alone.

The constants were measured with the default model and are a little generous, so that a cap that
passes here also holds: what is measured after loading decides how much the cache gets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_audiokv.engine.decoding.decode import DRAFT_TOKENS
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.models.download import LocalModel

# What onnxruntime makes of the file (int8 matrices stay int8), and holds while it opens the graph.
_ENCODER_UNPACKED, _ENCODER_OPENING = 1.8, 2.6
# Activations of the longest window, in bytes by its seconds: the arena grows in steps.
_WINDOW_S = (0.0, 15.0, 20.0, 30.0)
_WINDOW_BYTES = (18_000_000, 48_500_000, 75_000_000, 146_000_000)
# A reader's weights as int8 for its text and float32 for its sound, and its longest window, most of
# which lies where the encoder's was.
_READER_UNPACKED, _READER_WINDOW_BYTES = 1.1, 50_000_000
# Vocabulary, tensor tables and the library's own pages beside the weights.
MODEL_TABLE_BYTES = 17_500_000
# One context beside its pools and masks: the activations of one micro-batch and what llama.cpp
# allocates at the first decode, for each unit of a feed-forward network; and the logits of a
# draft's tokens, where they are computed and where they are read.
_CONTEXT_BYTES_PER_UNIT, _LOGIT_BYTES = 6370, 8


def model_parts(local: LocalModel, window_s: float, host_share: float = 1.0) -> dict[str, int]:
    """Bytes of encoder (longest window `window_s`) and weights, to be added to what runs now.

    `host_share` of the weights stays in the machine's memory.
    """
    measured = local.entry.encoder_bytes
    if measured:
        seconds, sizes = zip(*measured, strict=True)
        encoder_bytes = int(np.interp(window_s, seconds, sizes))
    else:
        file_bytes = sum(_size_bytes(path) for path in local.encoder_paths)
        window_bytes = float(np.interp(window_s, _WINDOW_S, _WINDOW_BYTES))
        unpacked_bytes = file_bytes * _ENCODER_UNPACKED + window_bytes
        encoder_bytes = int(max(unpacked_bytes, file_bytes * _ENCODER_OPENING))
    return {
        "encoder": encoder_bytes,
        "weights": int(llm_bytes(local) * host_share) + MODEL_TABLE_BYTES,
    }


def llm_bytes(local: LocalModel) -> int:
    """Bytes of the LLM's file, and of its adapter's."""
    return sum(_size_bytes(path) for path in local.llm_paths)


def reader_bytes(local: LocalModel) -> int:
    """Bytes of a reader beside the encoder; 0 if the model has none."""
    if not local.reader_paths:
        return 0
    weights_bytes = sum(_size_bytes(path) for path in local.reader_paths)
    return int(weights_bytes * _READER_UNPACKED) + _READER_WINDOW_BYTES


def context_bytes(feed_width: int, n_vocab: int) -> int:
    """Bytes of one context beside its pools and row tables, for an LLM with feed-forward networks
    of this width and so many tokens.
    """
    return feed_width * _CONTEXT_BYTES_PER_UNIT + DRAFT_TOKENS * n_vocab * _LOGIT_BYTES


def context_bytes_of(local: LocalModel) -> int:
    """The same for a model whose files are here."""
    return context_bytes(local.gguf.feed_width, local.gguf.vocabulary_length)


def shape_of(local: LocalModel) -> KVShape:
    """The cache's shape with f16 rows, as the GGUF's header states it."""
    header = local.gguf
    n_group = max(1, header.n_head // header.n_head_kv)
    return KVShape(header.block_count, header.n_head_kv, n_group, header.head_dim)


def _size_bytes(path: Path | None) -> int:
    return path.stat().st_size if path is not None else 0
