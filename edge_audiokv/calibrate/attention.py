"""Word times from what the LLM looks at, for models whose encoder names no words.

The reference text is read token by token behind its sound, and each token gets the row that the
heads look at as it is predicted (`engine.alignment.attention`): AudioKV's own alignment
(2604.06694) without a second recogniser.
"""

from __future__ import annotations

import numpy as np

from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.engine.alignment.attention import Watcher, align_by_attention
from edge_audiokv.engine.alignment.times import timed
from edge_audiokv.engine.decoding.choose import log_sum
from edge_audiokv.engine.decoding.decode import pieces_of
from edge_audiokv.errors import NativeError
from edge_audiokv.events import Word
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.native.context import HeadwiseContext


def words_by_attention(
    parts: Parts, embeddings: FloatArray, text: str, *, n_threads: int = 1
) -> list[Word]:
    """The words of `text`, at the rows of `embeddings` [T, d_model] that were looked at for them.

    A word's confidence is the LLM's own least probability of its tokens. Nothing is evicted: takes
    the memory of a full cache for as long.
    """
    ids = parts.model.tokenize(text, special=False)
    if not ids or not len(embeddings) or not parts.after:
        return []
    watcher, chances = Watcher(len(parts.before), len(embeddings)), []
    n_rows = len(parts.before) + len(embeddings) + len(parts.after) + len(ids)
    with HeadwiseContext(parts.model, n_rows, n_threads=n_threads) as context:
        context.decode_tokens(parts.before, logits=False)
        context.decode_embeddings(embeddings)
        if parts.after[:-1]:
            context.decode_tokens(parts.after[:-1], logits=False)
        # A token is chosen by the one before it: the first by the prompt's last.
        for token, before in zip(ids, [parts.after[-1], *ids[:-1]], strict=True):
            logits = context.decode_tokens([before], score=True)
            if logits is None:
                raise NativeError("llama.cpp gave no logits.")
            watcher.look(context.scores(), context.positions())
            chances.append(float(np.exp(logits[token] - log_sum(logits))))
    pieces = pieces_of(parts.model, ids)
    aligned = align_by_attention(text, pieces, watcher.attention(), chances)
    return list(timed(aligned, frame_s=1 / parts.encoder.tokens_per_second))
