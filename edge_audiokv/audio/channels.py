"""Many channels to one: their mean, unless they cancel each other or one of them only hums.

A microphone wired the wrong way round has the other's sound upside down: their mean is silence.
And a channel without a microphone may hiss louder than the other one speaks. In both cases the
better channel is taken alone. It is a choice for the rest of the stream, so that nobody hears it
change its mind; the mean is left only where it had nothing, or too little, to give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.audio.resample import to_mono
from edge_audiokv.audio.source import Samples

# Unlike sounds keep this share of their energy in the mean, one; opposite ones nearly none.
_CANCELLED_SHARE = 0.1
# Below this mean square (-60 dBFS) there is nothing to judge.
_LEAST_ENERGY = 1e-6
# Of the frames that are judged: speech comes and goes, by far more than a steady noise.
_FRAMES_A_BLOCK = 50
_JUDGED_FRAMES = 4 * _FRAMES_A_BLOCK
_STEADY_DB = 8.0
_LIVELY_DB = 25.0
_SAME_DB = 6.0
_FORGETTING = 0.5


class Mixer:
    """float32 [S, C] in, float32 [S] out, in blocks; one for each stream."""

    def __init__(self) -> None:
        self._chosen: int | None = None
        self._channels = 0
        self._notes: list[str] = []
        self._begin(0)

    def _begin(self, channels: int) -> None:
        self._channels = channels
        self._chosen = None
        self._mean_energy = 0.0
        self._energies: NDArray[np.float64] = np.zeros(channels)
        self._levels: NDArray[np.float64] = np.zeros((0, channels + 1))

    @property
    def nbytes(self) -> int:
        return self._levels.nbytes

    def mix(self, frames: Samples) -> Samples:
        """The next block, finite and within [-1, 1]."""
        if frames.ndim == 1 or frames.shape[1] == 1:
            return to_mono(frames)
        if frames.shape[1] != self._channels:
            self._begin(frames.shape[1])
        if self._chosen is None and len(frames):
            mono = to_mono(frames)
            self._judge(frames, mono)
            if self._chosen is None:
                return mono
        return np.ascontiguousarray(frames[:, self._chosen or 0])

    def _judge(self, frames: Samples, mono: Samples) -> None:
        energies = np.mean(np.square(frames, dtype=np.float64), axis=0)
        mean_energy = float(np.mean(np.square(mono, dtype=np.float64)))
        self._energies = self._energies * _FORGETTING + energies
        self._mean_energy = self._mean_energy * _FORGETTING + mean_energy
        if self._energies.max() < _LEAST_ENERGY:
            return
        unlike = float(self._energies.sum()) / self._channels**2
        if self._mean_energy < _CANCELLED_SHARE * unlike:
            self._choose(int(self._energies.argmax()), "its channels cancel each other")
            return
        self._judge_noise(frames, mono)

    def _judge_noise(self, frames: Samples, mono: Samples) -> None:
        """Whether the mean is steady because one channel is, while another comes and goes."""
        size = len(frames) // _FRAMES_A_BLOCK
        if not size:
            return
        every = np.concatenate([frames, mono[:, None]], axis=1)[: size * _FRAMES_A_BLOCK]
        cut = every.reshape(_FRAMES_A_BLOCK, size, -1).astype(np.float64)
        levels = 10 * np.log10(np.mean(np.square(cut), axis=1) + 1e-10)
        self._levels = np.concatenate([self._levels, levels])[-_JUDGED_FRAMES:]
        if len(self._levels) < _JUDGED_FRAMES:
            return
        low, high = np.quantile(self._levels, [0.1, 0.9], axis=0)
        span = high - low
        best = int(span[:-1].argmax())
        noisy = int(high[:-1].argmax())
        lively = span[best] > _LIVELY_DB and high[best] > 10 * np.log10(_LEAST_ENERGY)
        if lively and span[-1] < _STEADY_DB and span[noisy] < _SAME_DB and noisy != best:
            self._choose(best, f"channel {noisy + 1} is a steady noise")

    def _choose(self, channel: int, why: str) -> None:
        self._chosen = channel
        self._notes.append(f"{why}; channel {channel + 1} alone is heard")

    def take_notes(self) -> list[str]:
        """What a person should know, once."""
        notes, self._notes = self._notes, []
        return notes
