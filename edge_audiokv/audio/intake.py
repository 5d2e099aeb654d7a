"""Sound as other programs hold it (bytes, int16, float, stereo, any rate) to clean 16 kHz mono."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.audio.level import Health
from edge_audiokv.audio.resample import StreamResampler, to_mono
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.errors import InputError

Pcm = NDArray[Any] | bytes | bytearray | memoryview

_CURE = "Give float32 in [-1, 1], int16 or int32, as [S] or [S, C], or bytes of 16-bit mono PCM."
_MAX_CHANNELS = 64
# Loud float sound may pass full scale a little; numbers like these are integers in disguise.
_MAX_AMPLITUDE = 16.0
_CLIPPED_SHARE_TO_NOTE = 0.01


def to_float(pcm: Pcm) -> Samples:
    """float32 [S, C] of `pcm`: an array [S] or [S, C], or bytes of 16-bit little-endian mono.

    Raises InputError if it is something else. NaN and Inf pass through.
    """
    if isinstance(pcm, (bytes, bytearray, memoryview)):
        data = bytes(pcm)
        if len(data) % 2:
            raise InputError(
                f"{len(data)} bytes are no whole number of 16-bit samples.", cure=_CURE
            )
        pcm = np.frombuffer(data, "<i2")
    frames = np.asarray(pcm)
    if frames.ndim == 1:
        frames = frames[:, None]
    if frames.ndim != 2 or not 1 <= frames.shape[1] <= _MAX_CHANNELS:
        raise InputError(f"sound of the shape {list(np.shape(pcm))} is not understood.", cure=_CURE)
    if frames.dtype in (np.int16, np.int32):
        full_scale = float(1 << (8 * frames.dtype.itemsize - 1))
        return (frames / full_scale).astype(np.float32)
    if not np.issubdtype(frames.dtype, np.floating):
        raise InputError(f"samples of the type {frames.dtype} are not understood.", cure=_CURE)
    finite = np.abs(frames[np.isfinite(frames)])
    if finite.size and finite.max() > _MAX_AMPLITUDE:
        raise InputError(f"float samples reach {finite.max():.0f}, full scale is 1.", cure=_CURE)
    return frames.astype(np.float32, copy=False)


def clean(samples: Samples) -> Samples:
    """float32 [S] of a source without NaN, Inf and overshoots; sources warn about them."""
    return Health().check(samples)


class Intake:
    """One stream of pushed sound. NaN and Inf become silence; each kind of damage is told once."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._resampler: StreamResampler | None = None
        self._health = Health()
        self._told: set[str] = set()

    def push(self, pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ) -> Samples:
        """The next piece as float32 [S] at 16 kHz; resampling holds back up to 85 ms until `flush`.

        Raises InputError for sound that is not understood, a rate out of range or a changed rate.
        """
        frames = to_float(pcm)
        if self._resampler is None:
            self._resampler = StreamResampler(_whole(rate_hz))
        elif rate_hz != self._resampler.rate_hz:
            raise InputError(
                f"the rate changed from {self._resampler.rate_hz} to {rate_hz} Hz.",
                cure="Feed one rate, or call finish() between the two.",
            )
        return self._resampler.push(to_mono(self._health.check(frames)))

    def flush(self) -> Samples:
        """What the resampler still holds. The next push begins a new stream, at any rate."""
        resampler = self._resampler
        self._begin()
        if resampler is None:
            return np.zeros(0, np.float32)
        return resampler.push(np.zeros(0, np.float32), last=True)

    def complaints(self) -> list[str]:
        """What a person should know about the stream so far, each thing once."""
        health, found = self._health, {}
        if health.broken_samples:
            found["broken"] = "the sound holds NaN or Inf samples; they became silence."
        if health.samples >= SAMPLE_RATE_HZ and health.clipped_share > _CLIPPED_SHARE_TO_NOTE:
            found["clipped"] = f"{health.clipped_share:.0%} of the sound is clipped; turn it down."
        new = [text for name, text in found.items() if name not in self._told]
        self._told.update(found)
        return new


def _whole(rate_hz: float) -> int:
    if isinstance(rate_hz, bool) or not float(rate_hz).is_integer():
        raise InputError(f"a rate of {rate_hz} Hz is not a whole number.", cure="Give it in Hz.")
    return int(rate_hz)
