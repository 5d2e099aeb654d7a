"""Sound table: which heads look at a sound's loud part when they are asked about it.

HeadRouter's lesson is that head rankings depend on the task, so speech alone should not decide.
There are no words to align in a bark or a siren; the span is the frames within 20 dB of the
loudest, and the queries are those of the question. Our reconstruction; no paper gives one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.calibrate.clips import read_entries
from edge_audiokv.calibrate.heads import TOP_K
from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.native.context import HeadwiseContext

LOUD_DB = 20.0


def loud_frames(audio: FloatArray, n_frames: int, frame_samples: float) -> NDArray[np.bool_]:
    """Of `n_frames` of audio [S] those whose power is within LOUD_DB of the loudest, [T]. What is
    missing at the end is silence.
    """
    edges = np.rint(np.arange(n_frames + 1) * frame_samples).astype(int)
    squares = np.append(0.0, np.cumsum(audio.astype(np.float64) ** 2))
    power = np.diff(squares[np.minimum(edges, len(audio))]) / frame_samples
    return np.asarray(power >= power.max(initial=0.0) * 10 ** (-LOUD_DB / 10), bool)


def sound_hits(
    parts: Parts, manifest: Path, n_clips: int, question: str, *, skip: Collection[str] = ()
) -> Iterator[tuple[str, FloatArray]]:
    """(id, hit ratio [L, H]) of each sound: share of the top 24 positions that are loud frames."""
    ask = parts.after_ids(question)
    for entry in read_entries(manifest)[:n_clips]:
        name = str(entry.get("id", entry["path"]))
        if name in skip:
            continue
        audio = read_all(manifest.parent / entry["path"])
        embeddings = parts.encoder.encode(audio)
        rule = parts.encoder.rule
        frame_samples = rule.sample_rate_hz / rule.tokens_per_second
        loud = loud_frames(audio, len(embeddings), frame_samples)
        n_rows = len(parts.before) + len(embeddings) + len(ask)
        inside = np.zeros(n_rows, bool)
        inside[len(parts.before) : len(parts.before) + len(loud)] = loud
        with HeadwiseContext(parts.model, n_rows, n_threads=1) as context:
            context.decode_tokens(parts.before, logits=False)
            context.decode_embeddings(embeddings)
            context.decode_tokens(ask, logits=False, score=True)
            scores = context.scores()
        top = np.argpartition(-scores, min(TOP_K, n_rows) - 1, axis=2)[..., :TOP_K]
        yield name, np.asarray(inside[top].sum(axis=2) / TOP_K, np.float32)
