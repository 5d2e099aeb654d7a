"""Words with times from the encoder itself, if it names the words of its rows.

A forced alignment of the known text with the encoder's own CTC posteriors (alignment.py). Only the
likeliest words of each row are told, so all others get a floor; a word that the encoder did not
hear, or cannot spell, comes out with next to no confidence, and calibration leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_audiokv.calibrate.alignment import Word, ctc_words
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.errors import InputError

# Belief in a piece that is not among a row's likeliest.
_FLOOR = 1e-5
_SILENCE = 0


def heard_words(
    sound: Sound,
    vocabulary: Sequence[str],
    words: Sequence[str],
    spell: Callable[[str], Sequence[str]],
    *,
    frame_s: float,
) -> list[Word]:
    """`words` with the times at which `sound` holds them.

    `spell` cuts a word into pieces as the encoder's `vocabulary` does. Raises InputError if the
    words do not fit the sound's rows.
    """
    spelt = [list(spell(word)) for word in words]
    columns = {"": _SILENCE}
    for piece in (piece for pieces in spelt for piece in pieces):
        columns.setdefault(piece, len(columns))
    belief = np.full((len(sound), len(columns)), _FLOOR)
    belief[:, _SILENCE] = np.maximum(1 - sound.beliefs.sum(axis=1), _FLOOR)
    # The likeliest is written last, should a piece stand more than once in a row.
    for rank in range(sound.words.shape[1] - 1, -1, -1):
        for row, (name, value) in enumerate(
            zip(sound.words[:, rank].tolist(), sound.beliefs[:, rank].tolist(), strict=True)
        ):
            column = columns.get(vocabulary[name], _SILENCE)
            if column != _SILENCE:
                belief[row, column] = max(value, _FLOOR)
    labels = [[columns[piece] for piece in pieces] for pieces in spelt]
    if not len(sound) and words:
        raise InputError(f"{len(words)} words do not fit a sound without rows.")
    if not words:
        return []
    log_belief = np.log(belief).astype(np.float32)
    return ctc_words(log_belief, words, labels, frame_s=frame_s, blank=_SILENCE)
