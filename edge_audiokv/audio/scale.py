"""Float sound whose numbers are integers in disguise: full scale is 1, and theirs is 32768.

`Session.feed` refuses it, for its caller can divide; of a file or a pipe the scale is found.
"""

from __future__ import annotations

import numpy as np

from edge_audiokv.audio.source import Samples

# Loud float sound may pass full scale a little; sound beyond this is on another scale.
MAX_AMPLITUDE = 16.0
# Single wild samples are damage, and no scale.
_LEAST_SHARE = 0.05
_SCALES = ((16, 2.0**15), (24, 2.0**23), (32, 2.0**31))
_OVERSHOOT = 1.25


class FloatScale:
    """Brings a stream to full scale 1. A scale that was found stays, unless it is outgrown."""

    def __init__(self) -> None:
        self._full_scale = 1.0
        self._notes: list[str] = []

    @property
    def found(self) -> bool:
        return self._full_scale != 1.0

    def look(self, frames: Samples) -> None:
        """Find the scale in float32 [S, C] that come now, or soon."""
        if not frames.size:
            return
        # In most sound no sample is beyond: one pass, and no copy.
        limit = self._full_scale * _OVERSHOOT if self.found else MAX_AMPLITUDE
        if max(float(frames.max()), -float(frames.min())) <= limit:
            return
        loud = np.abs(frames[np.isfinite(frames)])
        if not loud.size or np.mean(loud > MAX_AMPLITUDE) < _LEAST_SHARE:
            return
        peak = float(np.quantile(loud, 0.999))
        for bits, full_scale in _SCALES:
            if self._full_scale < full_scale and peak <= full_scale * _OVERSHOOT:
                self._full_scale = full_scale
                self._notes = [
                    f"float samples reach {loud.max():.0f}, and full scale is 1; "
                    f"they were taken for {bits}-bit numbers and divided by {full_scale:.0f}"
                ]
            if peak <= full_scale * _OVERSHOOT:
                return

    def apply(self, frames: Samples) -> Samples:
        """float32 [S, C] at full scale 1."""
        self.look(frames)
        return frames / np.float32(self._full_scale) if self.found else frames

    def take_notes(self) -> list[str]:
        """What a person should know, once."""
        notes, self._notes = self._notes, []
        return notes
