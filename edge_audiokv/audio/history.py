"""The last stretch of a stream, addressed by sample number, in a buffer of fixed size."""

from __future__ import annotations

import numpy as np

from edge_audiokv.audio.source import Samples

_ENERGY_FRAME = 160  # 10 ms
_SMOOTH_FRAMES = 9  # a quiet point is 90 ms wide, not a zero crossing


class History:
    """Holds samples `start` to `end` of a stream, at most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        # Twice the room: samples are moved down once per `capacity` of them, not at each append.
        self._buffer = np.zeros(2 * capacity, np.float32)
        self._offset = 0
        self.start = 0
        self.end = 0
        self.capacity = capacity

    def append(self, samples: Samples) -> None:
        """Add float32 [S], S <= capacity; the oldest go if there is no room."""
        if len(samples) > self.capacity:
            raise ValueError(f"{len(samples)} samples do not fit a history of {self.capacity}")
        self.drop_before(self.end + len(samples) - self.capacity)
        held = self.end - self.start
        if self._offset + held + len(samples) > len(self._buffer):
            self._buffer[:held] = self._buffer[self._offset : self._offset + held]
            self._offset = 0
        self._buffer[self._offset + held : self._offset + held + len(samples)] = samples
        self.end += len(samples)

    def drop_before(self, sample: int) -> None:
        step = min(max(0, sample - self.start), self.end - self.start)
        self.start += step
        self._offset += step

    def slice(self, start: int, end: int) -> Samples:
        """A view of samples [start, end), which must be held."""
        if not self.start <= start <= end <= self.end:
            raise IndexError(f"[{start}, {end}) is not within [{self.start}, {self.end})")
        first = self._offset + start - self.start
        return self._buffer[first : first + end - start]

    def quietest(self, start: int, end: int) -> int:
        """The sample in the middle of the least energetic 90 ms of [start, end)."""
        start = max(start, self.start)
        frames = (end - start) // _ENERGY_FRAME
        if frames <= _SMOOTH_FRAMES:
            return (start + end) // 2
        block = self.slice(start, start + frames * _ENERGY_FRAME).reshape(frames, _ENERGY_FRAME)
        energy = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        smooth = np.convolve(energy, np.ones(_SMOOTH_FRAMES), mode="valid")
        middle = int(np.argmin(smooth)) + _SMOOTH_FRAMES // 2
        return start + middle * _ENERGY_FRAME + _ENERGY_FRAME // 2

    def clear(self, position: int) -> None:
        """Forget everything; the next sample is number `position`."""
        self._offset = 0
        self.start = self.end = position

    @property
    def nbytes(self) -> int:
        return int(self._buffer.nbytes)
