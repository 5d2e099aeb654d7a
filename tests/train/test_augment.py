from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from edge_audiokv.train.augment import mask_features, mask_mel, silence, vary
from edge_audiokv.train.corpus import MAX_SAMPLES, Corpus, CorpusWriter


def noise(tmp_path: Path) -> Corpus:
    writer = CorpusWriter(tmp_path / "noise")
    writer.add("a", "", "", np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1)
    writer.close()
    return Corpus([tmp_path / "noise"])


def test_variations_are_bounded_finite_and_seeded(tmp_path: Path) -> None:
    sounds = noise(tmp_path)
    tone = np.sin(np.arange(MAX_SAMPLES) * 0.05).astype(np.float32) * 0.3
    for seed in range(12):
        once = vary(tone, random.Random(seed), sounds)
        again = vary(tone, random.Random(seed), sounds)
        np.testing.assert_array_equal(once, again)
        assert once.dtype == np.float32 and np.isfinite(once).all()
        assert np.abs(once).max() <= 1.0
        assert 0.88 * MAX_SAMPLES < len(once) <= MAX_SAMPLES


def test_masks_leave_the_original_and_hide_little() -> None:
    mel, frames = torch.rand(80, 800) + 1, torch.rand(100, 384) + 1
    kept, seen = mel.clone(), frames.clone()
    for seed in range(20):
        hidden = (mask_mel(mel, random.Random(seed)) != mel).float().mean()
        assert hidden < 0.6
        assert (mask_features(frames, random.Random(seed)) == 0).any(1).sum() <= 40
    torch.testing.assert_close(mel, kept)
    torch.testing.assert_close(frames, seen)


def test_silence_is_faint() -> None:
    sound = silence(random.Random(0), 1.5)
    assert len(sound) == 24_000
    assert np.sqrt(np.mean(sound**2)) < 0.01
