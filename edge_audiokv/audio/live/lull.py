"""When a live source has gone quiet with its line open: a sender that sends nothing at all.

Silence that is sent is heard, and ends a segment; silence that is not sent has to be told by the
clock on the wall. Some senders pause between bursts: whoever waited longer lately is waited for.
"""

from __future__ import annotations

# A lull is this much longer than the longest wait between two arrivals lately.
_MARGIN = 1.5
_MAX_WAIT_S = 3.0
# By how much a long wait counts less after each lull.
_FADING = 0.7


class Lull:
    """`silence_s` is the silence that ends a segment when it is sent."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._waited_s = 0.0
        self._longest_s = 0.0
        self._told = False

    def heard(self, n_samples: int, waited_s: float) -> bool:
        """A read took `waited_s` and gave `n_samples`. True once, when a lull has begun."""
        if n_samples:
            waited_s += self._waited_s
            fading = self._longest_s * (_FADING if self._told else 1.0)
            self._longest_s = min(_MAX_WAIT_S, max(waited_s, fading))
            self._waited_s, self._told = 0.0, False
            return False
        self._waited_s += waited_s
        if self._told or self._waited_s < max(self._silence_s, _MARGIN * self._longest_s):
            return False
        self._told = True
        return True
