"""A bounded ring between the audio callback and its reader, which counts what it drops.

One thread writes, one reads, and neither waits: each counter has a single owner, so no lock is
needed. When the ring is full the newest frames are dropped, for only the reader may move on.
"""

from __future__ import annotations

import numpy as np

from edge_audiokv.audio.source import Samples


class Ring:
    """Holds at most `capacity` frames of `channels` samples."""

    def __init__(self, capacity: int, channels: int = 1) -> None:
        if capacity < 1 or channels < 1:
            raise ValueError(f"a ring of {capacity} frames of {channels} channels holds nothing")
        self._buffer = np.zeros((capacity, channels), np.float32)
        self._written = 0  # the writer's own
        self._read = 0  # the reader's own
        self.dropped = 0  # the writer's own: frames lost since the start

    def write(self, frames: Samples) -> int:
        """Copy float32 [S, C] in; returns how many frames found no room. Never blocks."""
        capacity = len(self._buffer)
        fits = min(len(frames), capacity - (self._written - self._read))
        first = self._written % capacity
        straight = min(fits, capacity - first)
        self._buffer[first : first + straight] = frames[:straight]
        self._buffer[: fits - straight] = frames[straight:fits]
        # Counted only after the copy: the reader must not see frames that are not there yet.
        self._written += fits
        lost = len(frames) - fits
        self.dropped += lost
        return lost

    def read(self, max_frames: int) -> Samples:
        """Take out up to `max_frames`, oldest first: a copy, float32 [S, C], perhaps empty."""
        capacity = len(self._buffer)
        count = min(max_frames, self._written - self._read)
        first = self._read % capacity
        straight = min(count, capacity - first)
        out = np.concatenate(
            [self._buffer[first : first + straight], self._buffer[: count - straight]]
        )
        self._read += count
        return out

    def __len__(self) -> int:
        """Frames waiting to be read."""
        return self._written - self._read

    @property
    def nbytes(self) -> int:
        return int(self._buffer.nbytes)
