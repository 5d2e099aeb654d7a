"""The form of raw sound, as Wyoming's events say it."""

from __future__ import annotations

from typing import Any, TypeGuard

from edge_audiokv.server.faults import refused
from edge_audiokv.server.sound import Form

# A microphone sends at the pace of time; half of it is no microphone that is worth a place.
LEAST_PACE = 0.5
_WIDTHS = (2, 3, 4)


def form_of(data: dict[str, Any]) -> Form:
    """Raises ApiError."""
    rate, width, channels = (data.get(name) for name in ("rate", "width", "channels"))
    if not _is_number(rate) or not 8000 <= rate <= 192_000:
        raise refused("rate", "8000 to 192000 Hz.")
    if not _is_number(width) or width not in _WIDTHS:
        raise refused("width", "2, 3 or 4 bytes.")
    if not _is_number(channels) or not 1 <= channels <= 8:
        raise refused("channels", "1 to 8.")
    return Form(rate, width, channels)


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
