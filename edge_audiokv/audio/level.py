"""How loud it is, and what is wrong with it: levels in dBFS, broken and clipped samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_audiokv.audio.source import Samples

FLOOR_DBFS = -120.0
# A sample within one 12-bit step of full scale counts as clipped.
_FULL_SCALE = 1.0 - 2.0**-12


@dataclass(frozen=True)
class Level:
    """RMS and peak relative to full scale, in dB; silence is -120."""

    rms_dbfs: float
    peak_dbfs: float


def _dbfs(amplitude: float) -> float:
    return max(FLOOR_DBFS, float(20 * np.log10(max(amplitude, 1e-12))))


def measure(samples: Samples) -> Level:
    """The level of float32 [S]; an empty array is silence."""
    if not len(samples):
        return Level(FLOOR_DBFS, FLOOR_DBFS)
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return Level(_dbfs(rms), _dbfs(float(np.max(np.abs(samples)))))


class Health:
    """Replaces NaN and Inf by zero and counts them, and counts clipped samples.

    Policy: a broken sample becomes silence; `broken_share` tells the owner when to give up.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.broken_samples = 0
        self.clipped_samples = 0

    def check(self, frames: Samples) -> Samples:
        """`frames` (any shape) without NaN or Inf and within [-1, 1]; copied only if it had to."""
        self.samples += frames.size
        finite = np.isfinite(frames)
        if not finite.all():
            self.broken_samples += int(frames.size - np.count_nonzero(finite))
            frames = np.where(finite, frames, np.float32(0))
        loud = np.abs(frames) >= _FULL_SCALE
        if loud.any():
            self.clipped_samples += int(np.count_nonzero(loud))
            frames = np.clip(frames, -1.0, 1.0)
        return frames

    @property
    def broken_share(self) -> float:
        return self.broken_samples / self.samples if self.samples else 0.0

    @property
    def clipped_share(self) -> float:
        return self.clipped_samples / self.samples if self.samples else 0.0
