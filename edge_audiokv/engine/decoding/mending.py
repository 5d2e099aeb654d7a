"""A text that does not follow its sound is written again, and at worst piece by piece.

Where a loop was cut, where words were skipped or told twice, the place was lost; what is written up
to there is right. So the rest of the sound is read anew, alone, from that place on: nothing before
it can mislead once more. Of all tries that stays which leaves out and makes up fewest words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.alignment.jumps import HeardWord, find_jumps
from edge_audiokv.engine.decoding.decode import Decoded

# Times that the rest is read again: bounds the cost of one stretch of sound.
_MAX_PIECES = 6
JUMP = "jump"

# A rest shorter than this holds no more than the end of a word.
_LEAST_REST_S = 0.5

# Writes down a sound, strictly by the words heard or as usual.
Write = Callable[[Sound, bool], Decoded]
# The row of a sound in which a text of it ends.
EndRow = Callable[[Decoded, Sound], int]


def n_astray(text: str, heard: Sequence[HeardWord]) -> int:
    """Words that `text` leaves out, tells twice or makes up, in runs."""
    return sum(jump.n_astray for jump in find_jumps(text, heard))


def mend(
    first: Decoded,
    sound: Sound,
    heard: Sequence[HeardWord],
    write: Write,
    *,
    piecewise: bool = True,
) -> Decoded:
    """`first`, or what follows `sound` better; `write` makes further tries.

    The flags say what is still wrong: those of the guard if it cut the text that stays, "jump" if
    that does not follow the words `heard`. `ids` are those of a single try, empty if `text` was put
    together. `n_generated` counts all tries.
    """
    worst = n_astray(first.text, heard)
    if not worst and not first.flags:
        return first
    best, n_generated = first, first.n_generated
    strict = write(sound, True)
    n_generated += strict.n_generated
    best, worst = _better(best, worst, strict, heard)
    if piecewise and (worst or best.flags):
        pieces = _piecewise(best, sound, heard, write)
        n_generated += pieces.n_generated
        best, worst = _better(best, worst, pieces, heard)
    flags = (*best.flags, JUMP) if worst else best.flags
    return replace(best, n_generated=n_generated, flags=flags)


def _better(
    best: Decoded, worst: int, other: Decoded, heard: Sequence[HeardWord]
) -> tuple[Decoded, int]:
    n_other = n_astray(other.text, heard)
    if (n_other, len(other.flags)) < (worst, len(best.flags)):
        return other, n_other
    return best, worst


def _piecewise(start: Decoded, sound: Sound, heard: Sequence[HeardWord], write: Write) -> Decoded:
    """`start` as far as it follows the sound, then the rest of the sound alone, and so on."""
    texts: list[str] = []
    flags: list[str] = list(start.flags)
    now, row, n_generated = start.text, 0, 0
    for _ in range(_MAX_PIECES):
        rest = [word for word in heard if word.first >= row]
        jump = next((jump for jump in find_jumps(now, rest) if jump.n_chars), None)
        if jump is None or jump.row <= row or jump.row >= len(sound):
            break
        texts.append(now[: jump.n_chars].strip())
        row = jump.row
        decoded = write(sound.after(row), False)
        now, flags = decoded.text, list(decoded.flags)
        n_generated += decoded.n_generated
    texts.append(now)
    text = " ".join(part for part in texts if part)
    return Decoded(text, (), n_generated, tuple(flags))


def carry_on(
    first: Decoded, sound: Sound, end_row: EndRow, write: Write, *, tokens_per_second: float
) -> Decoded:
    """`first`, which a guard cut, and what the rest of `sound` says: for encoders without words.

    What is said again and again is written round by round, since each piece begins after the text
    of the one before it. Nothing tells how right that is, so the guard's flags stay.
    """
    texts: list[str] = []
    now, rest, n_generated = first, sound, first.n_generated
    for _ in range(_MAX_PIECES):
        if not now.flags or not now.ids:
            break
        row = end_row(now, rest) + 1
        if row <= 0 or len(rest) - row < _LEAST_REST_S * tokens_per_second:
            break
        texts.append(now.text)
        rest = rest.after(row)
        now = write(rest, False)
        n_generated += now.n_generated
    if not texts:
        return first
    text = " ".join(part for part in (*texts, now.text) if part)
    return Decoded(text, (), n_generated, first.flags)
