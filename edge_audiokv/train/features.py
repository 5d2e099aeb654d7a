"""Encoder features computed once and mapped from disk, so that a frozen encoder costs nothing.

One file a corpus and variation: variation 0 is the sound as it is, each further one is a fresh
`vary` of every utterance. float16 [frames, 384] end to end, with one line of lengths an utterance.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from edge_audiokv.train.augment import vary
from edge_audiokv.train.corpus import SAMPLES_PER_TOKEN, Audio, Corpus
from edge_audiokv.train.whisper import LogMel, WhisperEncoder

Frames = npt.NDArray[np.float16]


def whole_tokens(audio: Audio) -> Audio:
    """Cut (or, for less than one token, pad) samples to a multiple of 80 ms."""
    size = max(SAMPLES_PER_TOKEN, len(audio) // SAMPLES_PER_TOKEN * SAMPLES_PER_TOKEN)
    return np.pad(audio, (0, max(0, size - len(audio))))[:size]


@torch.no_grad()
def encode(encoder: WhisperEncoder, mel: LogMel, audio: Audio) -> Frames:
    """Features [4T, 384] of samples [N]."""
    samples = torch.from_numpy(whole_tokens(audio))[None]
    with torch.autocast("cpu", torch.bfloat16):
        out = encoder(mel(samples))[0]
    return out.float().numpy().astype(np.float16)


def feature_stem(stem: Path, variation: int) -> Path:
    return stem.parent / "features" / f"{stem.name}.{variation}"


def compute_features(
    stem: Path, variation: int, encoder: WhisperEncoder, noise: Corpus | None, seed: int = 0
) -> Path:
    """Write features of a corpus unless they are there; the index appears last."""
    target = feature_stem(stem, variation)
    index = target.with_suffix(target.suffix + ".json")
    corpus = Corpus([stem])
    if index.exists() and len(json.loads(index.read_text())) == len(corpus):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    rng, mel = random.Random(f"{seed}-{stem.name}-{variation}"), LogMel()
    lengths: list[int] = []
    with target.with_suffix(target.suffix + ".f16").open("wb") as out:
        for row in range(len(corpus)):
            audio = corpus.audio(row)
            frames = encode(encoder, mel, vary(audio, rng, noise) if variation else audio)
            out.write(frames.tobytes())
            lengths.append(len(frames))
    part = target.with_suffix(target.suffix + ".part")
    part.write_text(json.dumps(lengths))
    part.replace(index)
    return target


class FeatureStore:
    """Frames of every utterance of a corpus in one variation, by position."""

    def __init__(self, target: Path, width: int = 384) -> None:
        lengths = json.loads(target.with_suffix(target.suffix + ".json").read_text())
        raw = np.memmap(target.with_suffix(target.suffix + ".f16"), dtype=np.float16, mode="r")
        self._frames = raw.reshape(-1, width)
        self._ends = np.cumsum(lengths)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> Frames:
        first = int(self._ends[row - 1]) if row else 0
        return self._frames[first : int(self._ends[row])]
