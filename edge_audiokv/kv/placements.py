"""What may become of old time when positions run out, by name; how is said in placement.py."""

from __future__ import annotations

from edge_audiokv.errors import InputError

DROP = "drop"
PLACEMENTS = ("order", "log", DROP)
DEFAULT_PLACEMENT = DROP


def check_placement(name: str) -> None:
    """Raises InputError if there is no such placement."""
    if name not in PLACEMENTS:
        raise InputError(
            f"There is no placement {name!r}.", cure=f"Use one of {', '.join(PLACEMENTS)}."
        )
