"""Sound made different at every sight: speed, room, noise, level; masks on log-mel and features."""

from __future__ import annotations

import random

import numpy as np
from scipy.signal import fftconvolve
from torch import Tensor

from edge_audiokv.train.corpus import MAX_SAMPLES, SAMPLE_RATE_HZ, Audio, Corpus


def vary(audio: Audio, rng: random.Random, noise: Corpus | None = None) -> Audio:
    """A changed copy of samples [N]; its length changes with the speed, never past 30 s."""
    out = audio
    if rng.random() < 0.5:
        out = _resample(out, rng.uniform(0.9, 1.12))
    if rng.random() < 0.2:
        out = _room(out, rng)
    out = out * (10 ** (rng.uniform(-34, -16) / 20) / (_level(out) + 1e-6))
    if noise is not None and len(noise) and rng.random() < 0.35:
        sound = noise.audio(rng.randrange(len(noise)))
        sound = np.resize(np.roll(sound, rng.randrange(len(sound))), len(out))
        out = out + sound * (
            _level(out) / (_level(sound) + 1e-4) * 10 ** (-rng.uniform(3, 30) / 20)
        )
    if rng.random() < 0.4:
        hiss = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(out), np.float32)
        out = out + hiss * (_level(out) * 10 ** (-rng.uniform(10, 45) / 20))
    return np.clip(out, -1.0, 1.0)[:MAX_SAMPLES]


def _level(audio: Audio) -> float:
    return float(np.sqrt(np.mean(audio**2)))


def _resample(audio: Audio, speed: float) -> Audio:
    # Linear interpolation: its mild roll-off is one more variation and it costs nothing.
    places = np.arange(0.0, len(audio) - 1, speed)
    return np.interp(places, np.arange(len(audio)), audio).astype(np.float32)


def _room(audio: Audio, rng: random.Random) -> Audio:
    length = int(SAMPLE_RATE_HZ * rng.uniform(0.05, 0.3))
    tail = np.random.default_rng(rng.getrandbits(32)).standard_normal(length)
    tail *= np.exp(-np.arange(length) / (length / 6)) * rng.uniform(0.02, 0.12)
    tail[0] = 1.0
    return fftconvolve(audio, tail)[: len(audio)].astype(np.float32)


def mask_mel(mel: Tensor, rng: random.Random) -> Tensor:
    """SpecAugment (Park et al. 2019) on log-mel [80, T]: up to 2 bands and one stretch each 3 s."""
    floor = mel.min()
    mel = mel.clone()
    for _ in range(rng.randint(0, 2)):
        width = rng.randint(1, 16)
        low = rng.randint(0, 80 - width)
        mel[low : low + width] = floor
    for _ in range(rng.randint(0, 1 + mel.shape[1] // 300)):
        width = rng.randint(2, 35)
        first = rng.randint(0, max(0, mel.shape[1] - width))
        mel[:, first : first + width] = floor
    return mel


def mask_features(frames: Tensor, rng: random.Random) -> Tensor:
    """Up to two stretches of at most 0.4 s of features [T, d] set to zero."""
    frames = frames.clone()
    for _ in range(rng.randint(0, 2)):
        width = rng.randint(2, 20)
        first = rng.randint(0, max(0, len(frames) - width))
        frames[first : first + width] = 0.0
    return frames


def silence(rng: random.Random, seconds: float) -> Audio:
    """Near silence [N]: faint hiss at a random level."""
    size = int(seconds * SAMPLE_RATE_HZ)
    hiss = np.random.default_rng(rng.getrandbits(32)).standard_normal(size)
    return (hiss * 10 ** (rng.uniform(-90, -45) / 20)).astype(np.float32)


class NoiseSource:
    """Sound without speech: half of the noise clips, and near silence."""

    def __init__(self, noise: Corpus | None) -> None:
        self.noise = noise

    def draw(self, rng: random.Random) -> Audio:
        if self.noise is None or not len(self.noise) or rng.random() < 0.3:
            return silence(rng, rng.uniform(1.0, 8.0))
        return self.noise.audio(rng.randrange(len(self.noise)))
