"""What a person is told when a text may not be all that was said."""

from __future__ import annotations

from edge_audiokv.events import Final
from edge_audiokv.units import format_clock

_WHAT = {
    "loop": "the text went in a loop and was cut",
    "runaway": "the text ran on and was cut",
    "jump": "the text does not follow the sound",
}


def loss_of(final: Final) -> str | None:
    """A warning in words if the flags of `final` say that words may be missing or told twice."""
    if "retried" in final.flags and "cut" not in final.flags:
        return None  # another try put it right
    seen = [text for flag, text in _WHAT.items() if flag in final.flags]
    if not seen:
        return None
    clock = f"{format_clock(final.start_s)} to {format_clock(final.end_s)}"
    return f"{clock}: {', '.join(seen)}; words may be missing or told twice"
