"""Gather an importance matrix from speech: audio embeddings and what is written of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.calibrate.clips import read_entries, reference_ids
from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.errors import InputError
from edge_audiokv.models.imatrix import Imatrix
from edge_audiokv.native.activations import WatchedContext

N_BATCH = 128


def gather(
    parts: Parts,
    manifest: Path,
    *,
    limit: int | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Imatrix:
    """The squares of what goes into each matrix as the LLM reads `limit` clips of `manifest`.

    Each clip is read as the engine reads it, with the reference text as the answer: the prompt's
    head, the sound's embeddings, the question and the text. Raises InputError for a clip that
    cannot be used.
    """
    entries = read_entries(manifest)[:limit]
    seconds = parts.local.entry.max_audio_s
    most_rows = parts.local.entry.rule.rows_in(seconds)
    texts = [reference_ids(parts, entry["text"]) for entry in entries]
    n_prompt = len(parts.before) + len(parts.after)
    capacity = n_prompt + most_rows + max(map(len, texts))
    chunk_tokens = 0
    with WatchedContext(
        parts.model, capacity, n_batch=N_BATCH, n_outputs=N_BATCH, n_threads=threads
    ) as context:
        for index, (entry, ids) in enumerate(zip(entries, texts, strict=True)):
            path = manifest.parent / entry["path"]
            samples = read_all(path)
            if not 0 < len(samples) <= seconds * parts.encoder.sample_rate_hz:
                raise InputError(
                    f"{path} is empty or longer than {seconds:g} s.", cure="Leave it out."
                )
            context.truncate(0)
            # Logits of every token: without them the last layer would not compute all rows.
            context.decode_tokens(parts.before, all_logits=True)
            context.decode_embeddings(parts.encoder.encode(samples), all_logits=True)
            context.decode_tokens([*parts.after, *ids], all_logits=True)
            chunk_tokens = max(chunk_tokens, context.next_position)
            progress(index + 1, len(entries))
        return Imatrix(
            {name: sums.astype(np.float32)[None] for name, sums in context.square_sums.items()},
            {name: np.array([count], np.float32) for name, count in context.row_counts.items()},
            (manifest.name,),
            len(entries),
            chunk_tokens,
        )
