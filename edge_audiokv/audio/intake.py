"""Sound as other programs hold it (bytes, int16, float, stereo, any rate) to clean 16 kHz mono."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.audio.level import Health
from edge_audiokv.audio.resample import StreamResampler, to_mono
from edge_audiokv.audio.scale import MAX_AMPLITUDE
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.errors import InputError

Pcm = NDArray[Any] | bytes | bytearray | memoryview

_CURE = "Give float32 in [-1, 1], int16 or int32, as [S] or [S, C], or bytes of 16-bit mono PCM."
_MAX_CHANNELS = 64
# A second of five channels at 48 kHz.
_MAX_BLOCK_NUMBERS = 1 << 18
_CLIPPED_SHARE_TO_NOTE = 0.01


def checked_frames(pcm: Pcm) -> NDArray[Any]:
    """`pcm` as numbers [S, C] of its own type: an array [S] or [S, C], or bytes of 16-bit
    little-endian mono, a whole number of samples.

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
        raise InputError(f"Sound of the shape {list(np.shape(pcm))} is not understood.", cure=_CURE)
    if frames.dtype in (np.int16, np.int32):
        return frames
    if not np.issubdtype(frames.dtype, np.floating):
        raise InputError(f"Samples of the type {frames.dtype} are not understood.", cure=_CURE)
    for block in _blocks(frames, SAMPLE_RATE_HZ):
        finite = np.abs(block[np.isfinite(block)])
        if finite.size and finite.max() > MAX_AMPLITUDE:
            raise InputError(
                f"Float samples reach {finite.max():.0f}, full scale is 1.", cure=_CURE
            )
    return frames


def _blocks(frames: NDArray[Any], n_frames: int) -> Iterator[NDArray[Any]]:
    """[S, C] in views of at most `n_frames`, fewer if there are many channels; at least one."""
    step = max(1, min(n_frames, _MAX_BLOCK_NUMBERS // frames.shape[1]))
    for start in range(0, max(1, len(frames)), step):
        yield frames[start : start + step]


def _to_float(frames: NDArray[Any]) -> Samples:
    """float32 of the numbers that `checked_frames` lets pass."""
    if frames.dtype in (np.int16, np.int32):
        full_scale = float(1 << (8 * frames.dtype.itemsize - 1))
        return (frames / full_scale).astype(np.float32)
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
        # The first half of a sample whose second half comes with the next bytes.
        self._half = b""
        self._lost_halves = 0

    def pieces(self, pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ) -> Iterator[Samples]:
        """The next sound as float32 [S] at 16 kHz, a second or less at a time, so that an hour
        takes no more working memory than a second. Resampling holds back up to 85 ms until `flush`.
        Bytes are cut wherever a socket cuts them: half a sample waits for its other half.

        Raises InputError, before the first piece, for sound that is not understood, a rate out of
        range or a changed rate.
        """
        half = b""
        if isinstance(pcm, (bytes, bytearray, memoryview)):
            data = self._half + bytes(pcm)
            whole = len(data) - len(data) % 2
            pcm, half = data[:whole], data[whole:]
            lost = 0
        else:
            lost = len(self._half)
        frames = checked_frames(pcm)
        if self._resampler is None:
            self._resampler = StreamResampler(_whole(rate_hz))
        elif rate_hz != self._resampler.rate_hz:
            raise InputError(
                f"The rate changed from {self._resampler.rate_hz} to {rate_hz} Hz.",
                cure="Feed one rate, or call finish() between the two.",
            )
        self._half = half
        self._lost_halves += lost
        return self._converted(frames, self._resampler)

    def _converted(self, frames: NDArray[Any], resampler: StreamResampler) -> Iterator[Samples]:
        for block in _blocks(frames, resampler.rate_hz):
            yield resampler.push(to_mono(self._health.check(_to_float(block))))

    def flush(self) -> Samples:
        """What the resampler still holds. The next push begins a new stream, at any rate."""
        resampler = self._resampler
        self._begin()
        if resampler is None:
            return np.zeros(0, np.float32)
        return resampler.push(np.zeros(0, np.float32), last=True)

    def leftover(self) -> list[str]:
        """What is lost if the stream ends now."""
        return ["the last byte is half a 16-bit sample and was dropped."] if self._half else []

    def complaints(self) -> list[str]:
        """What a person should know about the stream so far, each thing once."""
        health, found = self._health, {}
        if health.broken_samples:
            found["broken"] = "the sound holds NaN or Inf samples; they became silence."
        if health.samples >= SAMPLE_RATE_HZ and health.clipped_share > _CLIPPED_SHARE_TO_NOTE:
            found["clipped"] = f"{health.clipped_share:.0%} of the sound is clipped; turn it down."
        if self._lost_halves:
            found["half"] = "bytes that ended within a 16-bit sample were followed by an array."
        new = [text for name, text in found.items() if name not in self._told]
        self._told.update(found)
        return new


def _whole(rate_hz: float) -> int:
    if isinstance(rate_hz, bool) or not float(rate_hz).is_integer():
        raise InputError(f"A rate of {rate_hz} Hz is not a whole number.", cure="Give it in Hz.")
    return int(rate_hz)
