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


class LiveHealth:
    """Tells what is wrong with a live stream, each thing at most once in `_QUIET_S`.

    Judges windows of ten seconds: broken samples, clipping, and nothing but zeros, which is what
    a muted microphone or a missing permission looks like.
    """

    _WINDOW_S = 10.0
    _QUIET_S = 60.0

    def __init__(self) -> None:
        self._window = Health()
        self._window_start_s = 0.0
        self._all_zero = True
        self._told_s: dict[str, float] = {}

    def messages(self, frames: Samples, time_s: float) -> list[str]:
        """What to tell about the stream up to `time_s`; `frames` is the next piece, any shape."""
        self._window.check(frames)
        self._all_zero = self._all_zero and not frames.any()
        if time_s - self._window_start_s < self._WINDOW_S:
            return []
        window, zero = self._window, self._all_zero
        self._window, self._window_start_s, self._all_zero = Health(), time_s, True
        found = {}
        if window.broken_samples:
            found["broken"] = f"{window.broken_samples} NaN or Inf samples became silence"
        if window.clipped_share > 0.01:
            found["clipped"] = f"{window.clipped_share:.0%} of the sound is clipped; turn it down"
        if zero:
            found["zero"] = (
                "only digital silence for 10 s; is it muted, or is the permission to record missing"
            )
        due = {
            kind: text
            for kind, text in found.items()
            if time_s - self._told_s.get(kind, -self._QUIET_S) >= self._QUIET_S
        }
        self._told_s.update(dict.fromkeys(due, time_s))
        return list(due.values())
